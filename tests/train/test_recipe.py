from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llamarium.ground.errors import BadFileError, NotFoundError, RecipeError
from llamarium.train import recipe
from llamarium.train.recipe import Part, Recipe, build, parse_size, read

# Every key that the design fixes, with another value than its default.
FIXED = """
name: shakespeare
seed: 7
data: {corpus: corpus, tokenizer: tok}
model: {family: llama, size: 10M, layers: 3, width: 96, heads: 3}
train: {objective: lm, steps: 2000, batch_tokens: 4096, sequence_length: 128, learning_rate: 2.0e-3, save_every: 50}
optimizer: {name: adamw, schedule: linear}
"""
LORA = """
name: thin
data: {corpus: corpus}
model: {from: smollm2-135m-instruct}
train: {minutes: 1.5}
lora: {rank: 4, alpha: 32, targets: [q_proj, "*_proj"]}
"""
SMALL: dict[str, Any] = {"name": "x", "data": {"corpus": "c", "tokenizer": "bytes"}, "train": {"steps": 5}}


def written(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return folder / "recipe.yaml"


def changed(**sections: Any) -> dict[str, Any]:
    """The small recipe with values of its sections changed; a section that is no mapping replaces the old one."""
    values = dict(SMALL)
    for section, value in sections.items():
        values[section] = {**values.get(section, {}), **value} if isinstance(value, dict) else value
    return values


def test_every_fixed_key_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path, FIXED))
    assert (found.name, found.seed) == ("shakespeare", 7)
    assert (found.data.corpus, found.data.tokenizer) == ((Part(path=Path("corpus")),), "tok")
    assert (found.model.family, found.model.size, found.model.start) == ("llama", "10M", None)
    assert found.model.fields() == {"layers": 3, "width": 96, "heads": 3}
    train = found.train
    assert (train.objective, train.steps, train.tokens, train.minutes) == ("lm", 2000, None, None)
    assert (train.batch_tokens, train.sequence_length, train.learning_rate, train.save_every) == (4096, 128, 2e-3, 50)
    assert (found.optimizer.name, found.optimizer.schedule) == ("adamw", "linear")
    assert found.lora is None

    found = read(written(tmp_path, LORA))
    assert (found.model.start, found.data.tokenizer, found.train.minutes) == ("smollm2-135m-instruct", None, 1.5)
    assert found.lora is not None
    assert (found.lora.rank, found.lora.alpha, found.lora.targets) == (4, 32.0, ("q_proj", "*_proj"))


@pytest.mark.parametrize("text", [FIXED, LORA])
def test_what_is_dumped_is_read_as_the_same(tmp_path: Path, text: str) -> None:
    found = read(written(tmp_path, text))
    dumped = found.dump()
    assert read(written(tmp_path, dumped)) == found
    values = yaml.safe_load(dumped)
    assert values["optimizer"]["betas"] == [0.9, 0.95], "the defaults are in it"
    assert ("from" in values["model"]) == (found.model.start is not None), "under the name that recipes use"


def test_recipes_that_come_with_the_source_are_read() -> None:
    folder = Path(__file__).parents[2] / "recipes"
    found = [read(path) for path in sorted(folder.glob("*.yaml"))]
    assert found
    assert [each.name for each in found] == [path.stem for path in sorted(folder.glob("*.yaml"))]


@pytest.mark.parametrize(
    ("values", "said", "hint"),
    [
        ({"modle": {}}, "unknown key 'modle'", "Did you mean 'model'?"),
        (changed(train={"save_evry": 3}), "unknown key 'train.save_evry'", "Did you mean 'save_every'?"),
        (changed(data={"tokeniser": "x"}), "unknown key 'data.tokeniser'", "Did you mean 'tokenizer'?"),
        (changed(model={"widht": 3}), "unknown key 'model.widht'", "Did you mean 'width'?"),
        (changed(optimizer={"nmae": "adamw"}), "unknown key 'optimizer.nmae'", "Did you mean 'name'?"),
        (changed(lora={"rnk": 3}), "unknown key 'lora.rnk'", "Did you mean 'rank'?"),
        (changed(model={"family": "lama"}), "'lama'", "Did you mean 'llama'?"),
        (changed(train={"objective": "lmm"}), "'lmm'", "Did you mean 'lm'?"),
        (changed(optimizer={"name": "adamwx"}), "'adamwx'", "Did you mean 'adamw'?"),
        (changed(optimizer={"schedule": "cosin"}), "'cosin'", "Did you mean 'cosine'?"),
    ],
)
def test_the_nearest_name_is_named(values: dict[str, Any], said: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build({**SMALL, **values})
    assert said in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("values", "said"),
    [
        *((changed(name=name), "name: a name is that of a folder") for name in ("", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "羊" * 70)),
        (changed(name=5), "name"),
        (changed(seed=-1), "seed"),
        (changed(seed=1.5), "seed"),
        (changed(seed=1 << 63), "seed"),
        (changed(train={"steps": 0}), "train.steps"),
        (changed(train={"steps": -5}), "train.steps"),
        (changed(train={"steps": None}), "exactly one of steps, tokens, minutes"),
        (changed(train={"minutes": 3}), "exactly one of steps, tokens, minutes"),
        (changed(train={"steps": None, "minutes": float("inf")}), "train.minutes"),
        (changed(train={"learning_rate": 0}), "train.learning_rate"),
        (changed(train={"learning_rate": float("nan")}), "train.learning_rate"),
        (changed(train={"learning_rate": float("inf")}), "train.learning_rate"),
        (changed(train={"batch_tokens": 255}), "batch_tokens 255 is less than one sequence of 256"),
        (changed(train={"precision": "half"}), "train.precision"),
        (changed(train={"keep": 0}), "train.keep"),
        (changed(optimizer={"betas": [0.9, 1.0]}), "optimizer.betas"),
        (changed(optimizer={"betas": [0.9]}), "optimizer.betas"),
        (changed(optimizer={"warmup": 1.1}), "optimizer.warmup"),
        (changed(optimizer={"weight_decay": -1}), "optimizer.weight_decay"),
        (changed(model={"size": "10X"}), "'10X'"),
        (changed(model={"size": 0}), "size"),
        (changed(lora={}), "needs a model to start from"),
        (changed(model={"from": "m"}, lora={"rank": 0}), "lora.rank"),
        (changed(model={"from": "m", "size": "10M"}), "`from` brings the shape"),
        (changed(model={"from": "m", "layers": 3}), "`from` brings the shape"),
        (changed(data={"tokenizer": None}), "needs a tokenizer"),
        (changed(data=None), "data"),
        ({"name": "x"}, "is missing"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(values: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(values, name="r.yaml")
    assert said in caught.value.message
    assert caught.value.message.startswith("r.yaml: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("10M", 10e6),
        ("1.1B", 1.1e9),
        ("135M", 135e6),
        ("300k", 3e5),
        ("300K", 3e5),
        ("2G", 2e9),
        (" 5000 ", 5000),
        (5000, 5000),
        (1e7, 1e7),
    ],
)
def test_sizes(text: str | float, weights: float) -> None:
    assert parse_size(text) == weights


@pytest.mark.parametrize("text", ["", "M", "10 X", "1e7", "-3M", "0", "10m", "ten", "1.M", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"10M or 1\.1B"):
        parse_size(text)


def with_train(**values: Any) -> Recipe:
    return build({**SMALL, "train": values})


def test_the_length_of_a_run() -> None:
    assert with_train(steps=7).train.num_steps == 7
    assert with_train(minutes=7).train.num_steps is None
    # 1,000 tokens in steps of 3 sequences of 100: the fourth step is begun and done whole.
    assert with_train(tokens=1000, batch_tokens=399, sequence_length=100).train.rows == 3
    assert with_train(tokens=900, batch_tokens=399, sequence_length=100).train.num_steps == 3
    assert with_train(tokens=901, batch_tokens=399, sequence_length=100).train.num_steps == 4


@pytest.mark.parametrize("text", ["3e-4", "3.0e-4", "0.0003", "+3e-04", ".3E-3"])
def test_numbers_as_people_write_them(tmp_path: Path, text: str) -> None:
    """YAML 1.1 takes 3e-4 for a word."""
    path = written(tmp_path, f"name: x\ndata: {{corpus: c, tokenizer: bytes}}\ntrain: {{steps: 5, learning_rate: {text}}}")
    assert read(path).train.learning_rate == pytest.approx(3e-4)
    assert read(path, [f"train.learning_rate={text}"]).train.learning_rate == pytest.approx(3e-4)


def test_settings_win_over_the_recipe_and_it_over_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, FIXED)
    settings = [
        "train.steps=null",
        "train.minutes=2",
        "seed=9",
        "model.layers=5",
        "optimizer.betas=[0.8, 0.9]",
        "data.corpus=a=b",
        "name=羊驼",
    ]
    found = read(path, settings)
    assert (found.train.steps, found.train.minutes, found.seed) == (None, 2.0, 9)
    assert found.model.fields()["layers"] == 5
    assert found.optimizer.betas == (0.8, 0.9)
    assert (found.data.corpus, found.name) == ((Part(path=Path("a=b")),), "羊驼")
    assert found.train.gradient_clip == 1.0
    lora = ["model.from=m", "model.size=null", "model.layers=null", "lora.rank=2"]
    with pytest.raises(RecipeError, match="`from` brings the shape"):
        read(path, lora)
    assert read(written(tmp_path, LORA), ["lora.rank=2"]).lora == recipe.Lora(rank=2, alpha=32, targets=("q_proj", "*_proj"))


@pytest.mark.parametrize("setting", ["train.steps", "=3", " =3", ""])
def test_a_setting_is_a_key_and_a_value(tmp_path: Path, setting: str) -> None:
    with pytest.raises(RecipeError, match="--set takes key=value"):
        read(written(tmp_path, FIXED), [setting])


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", RecipeError, "empty"),
        (b"- a\n- b", RecipeError, "list"),
        (b"name: [", RecipeError, "line"),
        (b"name: x\nname: y", RecipeError, "twice"),
        (b"name: \xff\xfe", BadFileError, "UTF-8"),
        (b"!!python/object/apply:os.system [ls]", RecipeError, "YAML"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, content: bytes, error: type[Exception], said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(error, match=said):
        read(path)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(NotFoundError):
            read(path)
