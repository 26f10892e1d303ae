"""Adding a family is adding one file: a toy is dropped into the folder, and every contract and the whole command line take it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import llamarium
from llamarium import models
from llamarium.cli.main import run
from llamarium.models import families, family
from llamarium.text.prepare import prepare

spec = importlib.util.spec_from_file_location("contracts_of_models", Path(__file__).with_name("test_models.py"))
assert spec is not None
assert spec.loader is not None
contracts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(contracts)
OWED: dict[str, tuple[Callable[[ModuleType], None], ...]] = contracts.OWED

# All that a new family needs: no shape from a size, no foreign names, no mention anywhere else.
TOY = '''
"""A toy: the next id from the embeddings of the last three."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llamarium.models import model
from llamarium.models.model import Context


@dataclass(frozen=True)
class Config:
    vocab_size: int
    width: int = 32
    CONTEXT_LENGTH

    def num_parameters(self) -> int:
        with torch.device("meta"):
            return Model(self).num_parameters()


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(3 * width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.out(torch.relu(self.mix(x_BTD)))


class Model(model.Network):
    KIND = "THE_KIND"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList([Block(config.width)])
        self.head = nn.Linear(config.width, config.vocab_size)

    def initialize(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1)

    def hidden(self, ids_BT: Tensor, context: Context) -> Tensor:
        earlier = context.state(0)  # the two ids before these, where a text goes on
        earlier = ids_BT.new_zeros(len(ids_BT), 2) if earlier is None else earlier
        ids = torch.cat([earlier, ids_BT], dim=1)
        context.store(0, ids[:, -2:])
        x_BTD, T = self.embed(ids), ids_BT.shape[1]
        seen = [x_BTD[:, 2 - back : 2 - back + T] * (context.positions_BT >= back)[..., None] for back in (0, 1, 2)]
        return self.blocks[0](torch.cat(seen, dim=-1))

    def unembed(self, x_BTD: Tensor) -> Tensor:
        return self.head(x_BTD)


TINY = Config(vocab_size=64)
'''
KINDS = ("decoder", "recurrent")
LIMITS = (None, 64)
UNLIMITED = """
    @property
    def context_length(self) -> None:
        return None
"""


def toy(kind: str, limit: int | None) -> str:
    return TOY.replace("THE_KIND", kind).replace("    CONTEXT_LENGTH", UNLIMITED if limit is None else f"    context_length: int = {limit}")


@contextlib.contextmanager
def dropped_in(folder: Path, source: str) -> Iterator[ModuleType]:
    """The file ``toy.py`` in the folder of families, for this process and a while."""
    folder.mkdir(exist_ok=True)
    (folder / "toy.py").write_text(source, encoding="utf-8")
    models.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield family("toy")
    finally:
        models.__path__.remove(str(folder))
        sys.modules.pop("llamarium.models.toy", None)
        vars(models).pop("toy", None)


CONTRACTS = [(kind, limit, contract) for kind in KINDS for limit in LIMITS for contract in OWED[kind]]


@pytest.mark.parametrize(
    ("kind", "limit", "contract"), CONTRACTS, ids=[f"{kind}-{limit}-{each.__name__}" for kind, limit, each in CONTRACTS]
)
def test_it_keeps_every_contract(kind: str, limit: int | None, contract: Callable[[ModuleType], None], tmp_path: Path) -> None:
    with dropped_in(tmp_path / "dropped", toy(kind, limit)) as module:
        contract(module)


def test_it_is_listed_as_long_as_it_is_there(tmp_path: Path) -> None:
    before = families()
    with dropped_in(tmp_path / "dropped", toy("decoder", None)):
        assert families() == sorted([*before, "toy"])
    assert families() == before
    assert "toy" not in before


# --- the command line ---


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a corpus, a recipe, lines."""
    (tmp_path / "text").mkdir()
    for number in range(8):
        (tmp_path / "text" / f"{number}.txt").write_text(f"The llama number {number} eats grass and sleeps for {number} hours in the hay.")
    prepare([tmp_path / "text"], tmp_path / "corpus")
    recipe = {
        "name": "toy",
        "data": {"corpus": "corpus", "tokenizer": "bytes"},
        "model": {"family": "toy"},
        "train": {"steps": 60, "batch_tokens": 512, "sequence_length": 32, "learning_rate": 1e-2, "precision": "float32"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "lines.txt").write_text("The llama eats grass.\nqzx xzq qqq zzz jjj.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Said = Callable[..., str]


def all_verbs(said: Said) -> None:
    """Train, generate, evaluate and score a toy; `said` runs a command line and gives its output."""
    assert said("train", "recipe.yaml").strip() == "runs/toy/model"
    generated = json.loads(said("generate", "runs/toy/model", "The lla", "--temperature", "0", "--max-tokens", "8", "--json"))
    assert generated["completion_tokens"] == 8
    evaluated = json.loads(said("evaluate", "runs/toy", "--data", "corpus", "--json"))
    assert 0 < evaluated["bits_per_byte"] < 5, "8 bits is what nothing learnt gives"
    lines = json.loads(said("score", "runs/toy", "lines.txt", "--json"))["lines"]
    assert lines[0]["bits_per_byte"] < lines[1]["bits_per_byte"]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_verbs_take_it(kind: str, limit: int | None, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        code = run(list(arguments))
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    with dropped_in(place / "dropped", toy(kind, limit)):
        all_verbs(said)
        described = json.loads(Path("runs/toy/model/config.json").read_text())
        assert described["model_type"] == "llamarium-toy"
        assert described["config"].get("context_length") == (None if limit is None else 32), "a limit is what the recipe trains"


def test_without_a_size_of_its_own_a_size_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dropped_in(place / "dropped", toy("decoder", None)):
        assert run(["train", "recipe.yaml", "--set", "model.size=1M"]) == 2
        assert "the family 'toy' cannot derive its shape from a size" in capsys.readouterr().err
        assert run(["train", "recipe.yaml", "--set", "model.heads=2"]) == 2
        assert "unknown key 'model.heads'" in capsys.readouterr().err
        assert run(["train", "recipe.yaml", "--dry-run", "--set", "model.width=16"]) == 0


def test_one_file_in_the_folder_and_the_true_command_has_it(place: Path) -> None:
    """A copy of the package with one file more; nothing in the process knows that it is a toy's."""
    package = place / "package" / "llamarium"
    shutil.copytree(Path(llamarium.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "models" / "toy.py").write_text(toy("recurrent", None), encoding="utf-8")
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}

    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "llamarium", *arguments]
        child = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=200, check=False)
        assert child.returncode == 0, child.stderr
        return child.stdout

    assert said("train", "recipe.yaml") == "runs/toy/model\n"
    assert said("score", "runs/toy", "lines.txt").endswith("\tqzx xzq qqq zzz jjj.\n")


# --- the controls ---


def spoilt(kind: str, old: str, new: str) -> str:
    """A toy with one thing wrong."""
    source = toy(kind, None)
    assert old in source
    return source.replace(old, new)


@pytest.mark.parametrize("kind", KINDS)
def test_control_a_toy_that_looks_ahead_is_seen(kind: str, tmp_path: Path) -> None:
    source = spoilt(kind, "seen = [", "x_BTD = x_BTD.roll(-1, dims=1)\n        seen = [")
    with dropped_in(tmp_path / "dropped", source) as module, pytest.raises(AssertionError):
        contracts.is_causal(module)


@pytest.mark.parametrize(
    ("contract", "change"),
    [
        ("cached_is_uncached", ("context.store(0, ids[:, -2:])", "context.store(0, ids[:, :2])")),
        ("packed_is_alone", ("* (context.positions_BT >= back)[..., None]", "")),
        ("every_weight_learns", ("self.head = nn", "self.idle = nn.Linear(2, 2)\n        self.head = nn")),
        ("describes_itself", ("frozen=True", "frozen=False")),
    ],
)
def test_control_a_toy_that_breaks_a_contract_is_seen(contract: str, change: tuple[str, str], tmp_path: Path) -> None:
    found = next(each for each in OWED["recurrent"] if each.__name__ == contract)
    with (
        dropped_in(tmp_path / "dropped", spoilt("recurrent", *change)) as module,
        pytest.raises((AssertionError, pytest.fail.Exception)),
    ):
        found(module)
