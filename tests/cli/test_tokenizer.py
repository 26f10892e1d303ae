from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from llamarium.checkpoint import catalogue
from llamarium.checkpoint.huggingface import save_folder
from llamarium.checkpoint.open import open_model
from llamarium.cli._options import parse_bytes
from llamarium.cli._tokenizer import opening
from llamarium.cli._tokenizer.opening import Sample, at_hand, open_any
from llamarium.cli.main import run
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.ground.errors import UsageError
from llamarium.models import family
from llamarium.models.context import Dense
from llamarium.text.corpus import open_corpus, write_corpus
from llamarium.text.document import Document
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import train_bpe

ENGLISH = [Document(topic[:1200], f"docs/en/{name}.txt", "en") for name, topic in sorted(topics.items())][:24]
CHINESE = [Document(f"羊驼读文本，羊驼吃草。第{number}篇。" * 3, f"docs/zh/poems.jsonl#{number}", "zh") for number in range(24)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "corpus"
    sides = {"train": [*ENGLISH[:20], *CHINESE[:20]], "valid": [*ENGLISH[20:], *CHINESE[20:]]}
    write_corpus(folder, sides, report={}, page="")
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["tokenizer", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- train -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_train_writes_a_folder_and_says_what_it_read(kind: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tokenizer"
    code, printed, told = call(capsys, "train", corpus, "--vocab-size", 400, "--out", out, "--kind", kind)
    assert (code, printed) == (0, f"{out}\n")
    assert "learnt from all 40 documents" in told
    assert "400 tokens; " in told
    tokenizer = Tokenizer.load(out)
    assert tokenizer.vocab_size == 400
    about = json.loads((out / "tokenizer_config.json").read_text())["trained_on"]
    assert (about["kind"], about["documents"], about["of_documents"]) == (kind, 40, 40)
    assert about["bytes"] == about["of_bytes"] == open_corpus(corpus).num_bytes("train")


def test_a_sample_is_stated_and_the_same_every_time(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sums = []
    for name in ("one", "other"):
        code, _, told = call(capsys, "train", corpus, "--vocab-size", 300, "--out", tmp_path / name, "--sample", "8KB")
        assert code == 0
        assert "of 40 documents" in told
        assert "chosen by their ids" in told
        sums.append(Tokenizer.load(tmp_path / name).sha256)
    assert sums[0] == sums[1]
    about = json.loads((tmp_path / "one" / "tokenizer_config.json").read_text())["trained_on"]
    assert 0 < about["documents"] < 40
    assert 2_000 < about["bytes"] < 16_000


def test_a_larger_sample_holds_the_smaller_and_none_is_empty(corpus: Path) -> None:
    read = open_corpus(corpus)
    sizes = (1, 4_000, 12_000, 10**9)
    chosen = [{document.id for document in Sample(read, "train", most_bytes=size).documents("reading")} for size in sizes]
    assert len(chosen[0]) == 1
    assert len(chosen[-1]) == 40
    assert chosen[1] < chosen[2] < chosen[3]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--vocab-size", 100), "at least 259"),
        (("--vocab-size", 10**9), "larger than any"),
        (("--vocab-size", 400, "--kind", "bqe"), "'bqe'"),
        (("--vocab-size", 400, "--sample", "much"), "'much' is not a size"),
        (("--vocab-size", 400, "--sample", "0MB"), "is not a size"),
    ],
)
def test_train_refuses(options: tuple[object, ...], sentence: str, corpus: Path, tmp_path: Path, capsys: Any) -> None:
    result = call(capsys, "train", corpus, "--out", tmp_path / "out", *options)
    assert result[0] == 2
    assert sentence in result[2]
    assert "hint:" in result[2]
    assert not (tmp_path / "out").exists()


def test_places_that_are_taken_or_empty(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for verb in (("train", corpus, "--vocab-size", 300), ("extend", tmp_path, corpus, "--add", 3)):
        assert call(capsys, *verb, "--out", tmp_path / "full")[0] == 2
    write_corpus(tmp_path / "empty", {"train": [], "valid": []}, report={}, page="")
    code, _, told = call(capsys, "train", tmp_path / "empty", "--vocab-size", 300, "--out", tmp_path / "out")
    assert code == 2
    assert "no documents in the train part" in told
    assert call(capsys, "train", tmp_path / "none", "--vocab-size", 300, "--out", tmp_path / "out")[0] == 2


def test_fewer_tokens_than_asked_for_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "corpus", {"train": [Document("羊羊羊", "a", "zh")], "valid": []}, report={}, page="")
    code, _, told = call(capsys, "train", tmp_path / "corpus", "--vocab-size", 5000, "--out", tmp_path / "out")
    assert code == 0
    assert "the text has no more than" in told


def test_sizes() -> None:
    assert [parse_bytes(text) for text in ("5", "2KB", "1.5mb", "3 GiB", "1g")] == [5, 2000, 1_500_000, 3_000_000_000, 1_000_000_000]
    for wrong in ("", "MB", "-1MB", "1XB", "0"):
        with pytest.raises(UsageError):
            parse_bytes(wrong)


# --- compare, inspect ------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    train_bpe([document.text for document in ENGLISH], vocab_size=400).save(folder)
    return folder


def test_compare(corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "at_hand", dict)
    page = tmp_path / "page.html"
    one = trained / "tokenizer.json"
    code, printed, told = call(capsys, "compare", corpus, trained, one, "--out", page)
    assert code == 0
    assert "measured on all 8 documents" in told
    lines = printed.splitlines()
    assert lines[0].split() == ["tokenizer", "tokens", "bytes/token", "tokens/char", "tokens/word", "MB/s"]
    assert [line.split()[0] for line in lines[1:3]] == [str(trained), str(one)]
    assert [lines[5].split(), lines[10].split()] == [["en", "zh"]] * 2
    html = page.read_text(encoding="utf-8")
    assert "<svg" in html
    assert str(trained) in html
    assert call(capsys, "compare", corpus, trained, "--out", page)[0] == 2

    code, printed, _ = call(capsys, "compare", corpus, trained, "--split", "train", "--sample", "10KB", "--json")
    value = json.loads(printed)
    assert value["measured_on"]["documents"] < 40
    assert value["tokenizers"][0]["name"] == str(trained)
    assert value["tokenizers"][0]["languages"]["zh"]["bytes_per_token"] == 1
    assert call(capsys, "compare", corpus, tmp_path / "none")[0] == 2
    assert call(capsys, "compare", corpus, trained, "--split", "tset")[0] == 2


def test_known_tokenizers_are_found_where_they_lie(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setenv("LLAMARIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(opening, "PACKAGES", {})
    assert at_hand() == {}
    shutil.copytree(trained, tmp_path / "hub" / "models--gpt2" / "snapshots" / "0a1b")
    broken = catalogue.folder_of("hf:meta-llama/Llama-2-7b-hf")
    broken.mkdir(parents=True)
    (broken / "tokenizer.model").write_bytes(b"nothing")
    assert {name: tokenizer.vocab_size for name, tokenizer in at_hand().items()} == {"GPT-2": 400}
    assert "passed over" in said[0]


def test_inspect(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the <b> 羊\n"
    ids = Tokenizer.load(trained).encode(text)
    code, printed, told = call(capsys, "inspect", trained, text, "--json")
    assert json.loads(printed)["ids"] == ids
    code, printed, told = call(capsys, "inspect", trained, text, "--html", tmp_path / "a.html")
    assert code == 0
    assert [int(line.split()[0]) for line in printed.splitlines()] == ids
    assert f"{len(ids)} tokens, 12 bytes" in told
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "&lt;" in html
    assert f'title="{ids[0]}"' in html
    assert call(capsys, "inspect", trained, text, "--html", tmp_path / "a.html")[0] == 2
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, printed, _ = call(capsys, "inspect", trained, text)
    assert "\x1b[" in printed


# --- extend ----------------------------------------------------------------------------------------------------------


def small_model(folder: Path, **fields: object) -> Path:
    """A model that has learnt a little of its text, so that its rows mean something."""
    torch.manual_seed(0)
    tokenizer = train_bpe([document.text for document in ENGLISH], vocab_size=400)
    module = family("llama")
    config = module.Config(vocab_size=400, width=32, layers=1, heads=2, hidden_width=64, context_length=64, **fields)
    model = module.Model(config)
    model.initialize()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = [number for document in [*ENGLISH, *CHINESE] for number in (*tokenizer.encode(document.text), tokenizer.end_id)]
    rows = torch.tensor(ids[: len(ids) // 64 * 64]).view(-1, 64)
    for _ in range(40):
        ids_BT = rows[torch.randint(len(rows), (8,))]
        loss = torch.nn.functional.cross_entropy(model(ids_BT, Dense(ids_BT))[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    save_folder(folder, model.eval(), tokenizer)
    return folder


def loss_per_byte(folder: Path, *, random_rows_from: int | None = None) -> float:
    opened = open_model(folder)
    if random_rows_from is not None:
        torch.manual_seed(1)
        for parameter in opened.model.parameters():
            if parameter.ndim == 2 and len(parameter) == opened.model.config.vocab_size:
                with torch.no_grad():
                    parameter[random_rows_from:] = torch.randn_like(parameter[random_rows_from:]) * parameter.std()
    return bits_per_byte(opened.model, opened.tokenizer, [document.text for document in CHINESE[20:]]).bits_per_byte


@pytest.mark.parametrize("tied", [True, False])
def test_an_extended_model_starts_sane(tied: bool, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, out = small_model(tmp_path / "base", tied=tied), tmp_path / "extended"
    code, printed, told = call(capsys, "extend", base, corpus, "--add", 40, "--out", out)
    assert (code, printed) == (0, f"{out}\n")
    assert "400 + 40 tokens; 448 rows in the model" in told
    assert "zh" in told
    before, after = open_model(base), open_model(out)
    assert after.model.config.vocab_size == 448
    assert after.tokenizer.vocab_size == 440
    text = "羊驼读文本"
    assert len(after.tokenizer.encode(text)) < len(before.tokenizer.encode(text))
    old, new, random = loss_per_byte(base), loss_per_byte(out), loss_per_byte(out, random_rows_from=400)
    assert new < random
    # It cost less when the second byte was sure after the first; but what it costs now is far from not knowing the piece (8).
    assert old < new < 3
    about = json.loads((out / "tokenizer_config.json").read_text())["extended_with"]
    assert (about["pieces"], about["first_id"]) == (40, 400)
    assert run(["generate", str(out), "羊驼", "--max-tokens", "3", "--temperature", "0"]) == 0


def test_transformers_opens_the_extended_folder(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, out = small_model(tmp_path / "base"), tmp_path / "extended"
    code, printed, _ = call(capsys, "extend", base, corpus, "--add", 40, "--out", out, "--dtype", "bfloat16", "--json")
    value = json.loads(printed)
    assert (code, value["pieces"], value["rows"]) == (0, 40, 448)
    assert value["after"]["bytes_per_token"] > value["before"]["bytes_per_token"]
    theirs, ours = AutoTokenizer.from_pretrained(out), open_model(out)
    ids = ours.tokenizer.encode("羊驼读 the text")
    assert theirs.encode("羊驼读 the text", add_special_tokens=False) == ids
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids_BT = torch.tensor([ids])
    with torch.no_grad():
        torch.testing.assert_close(model(ids_BT).logits, ours.model(ids_BT, Dense(ids_BT)), rtol=1e-4, atol=1e-4)


def test_an_extended_model_goes_on_learning(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = small_model(tmp_path / "base"), tmp_path / "extended"
    assert call(capsys, "extend", base, corpus, "--add", 40, "--out", out)[0] == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: more\nmodel: {{from: {out}}}\ndata: {{corpus: {corpus}}}\ntrain: {{steps: 2, batch_tokens: 64, sequence_length: 32}}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(recipe)]) == 0
    assert open_model(tmp_path / "runs" / "more").tokenizer.vocab_size == 440


def test_a_tokenizer_alone_is_extended_alone(corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, base in enumerate((trained, trained / "tokenizer.json")):
        out = tmp_path / f"extended-{number}"
        code, _, told = call(capsys, "extend", base, corpus, "--add", 10, "--out", out)
        assert code == 0
        assert told.endswith("400 + 10 tokens\n")
        assert open_any(str(out)).vocab_size == 410
        assert not (out / "config.json").exists()


def test_what_teaches_nothing_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "corpus", {"train": [Document("x", "a", "en")], "valid": []}, report={}, page="")
    code, _, told = call(capsys, "extend", trained, tmp_path / "corpus", "--add", 10, "--out", tmp_path / "out")
    assert code == 2
    assert "no new piece" in told
    assert not (tmp_path / "out").exists()


def test_the_guide(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of docs/guides/tokenizers.md, in its order."""
    guide = Path(__file__).parents[2] / "docs" / "guides" / "tokenizers.md"
    monkeypatch.setattr(opening, "at_hand", dict)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(corpus, "corpus")
    small_model(tmp_path / "my-llama")
    commands = [shlex.split(line) for line in guide.read_text(encoding="utf-8").splitlines() if line.startswith("llamarium ")]
    for command in commands:
        size = command.index("--vocab-size") + 1 if "--vocab-size" in command else 0
        if size:
            command[size] = "400"  # what so small a corpus has
        assert run(command[1:]) == 0, command
    assert {command[2] for command in commands} == {"train", "compare", "inspect", "extend"}
    assert {path.name for path in tmp_path.iterdir()} >= {"tokenizers.html", "pieces.html", "my-llama-extended", "my-tokenizer-extended"}
