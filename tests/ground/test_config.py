from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from llamarium.ground.config import Section, apply_settings, parse_yaml, read_yaml, validate
from llamarium.ground.errors import BadFileError, NotFoundError, RecipeError


class Train(Section):
    steps: int = Field(default=10, gt=0)
    learning_rate: float = 1e-3


class Corpus(Section):
    path: str
    weight: float = 1.0


class Recipe(Section):
    name: str
    train: Train = Train()
    corpora: tuple[Corpus, ...] = ()
    lora: Train | None = None


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5e1", 5.0),
        ("1.e2", 100.0),
        ("3e", "3e"),
        ("e4", "e4"),
        ("1e4x", "1e4x"),
        ("'3e-4'", "3e-4"),
        ("1e-3 # a comment", 1e-3),
        ("0x10", 16),
        ("1_000", 1000),
        ("", None),
        ("[1e1, {a: 2e0}]", [10.0, {"a": 2.0}]),
        ("b: &b {a: 1}\nc: {<<: *b, a: 2}", {"b": {"a": 1}, "c": {"a": 2}}),
        ("a: 羊驼", {"a": "羊驼"}),
    ],
)
def test_numbers_are_what_people_mean(text: str, value: Any) -> None:
    found = parse_yaml(text, name="x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [", r"^r\.yaml, line 2: "),
        ("a: 1\n\tb: 2", "line 2"),
        ("train: 1\nname: x\ntrain: 2", "line 3.*'train' stands twice"),
        ("a: {b: 1, b: 2}", "'b' stands twice"),
        ("a: \x00", "#x0000"),
        ("x: !!python/object/apply:os.system [ls]", "constructor"),
        ("{[1]: 2}", "unhashable"),
        ("a: *nothing", "undefined alias"),
        ("--- 1\n--- 2", "another document"),
        ("when: 2024-13-45", "month"),
        ("a: " + "9" * 5000, "digits"),
        ("[" * 50_000, "recursion"),
    ],
)
def test_what_is_no_yaml_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_yaml(text, name="r.yaml")
    assert "\n" not in caught.value.message


def test_read_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: 羊驼\ntrain: {steps: 5}\n", encoding="utf-8")
    assert read_yaml(path) == {"name": "羊驼", "train": {"steps": 5}}


@pytest.mark.parametrize(("text", "kind"), [("", "empty"), ("# only a comment", "empty"), ("- a", "list"), ("5", "int")])
def test_a_recipe_is_a_mapping(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=f"this is {kind}"):
        read_yaml(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(NotFoundError, match="is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(BadFileError, match="byte 9: is not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


# --set


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.steps=20", {"train": {"steps": 20, "rate": 1}}),
        ("train.rate=3e-4", {"train": {"steps": 10, "rate": 3e-4}}),
        ("seed=3", {"train": {"steps": 10, "rate": 1}, "seed": 3}),
        ("a.b.c=x", {"train": {"steps": 10, "rate": 1}, "a": {"b": {"c": "x"}}}),
        ("train={steps: 1}", {"train": {"steps": 1}}),
        ("train.steps.deep=1", {"train": {"steps": {"deep": 1}, "rate": 1}}),
        ("train.name=a=b", {"train": {"steps": 10, "rate": 1, "name": "a=b"}}),
        ("train.steps=", {"train": {"steps": None, "rate": 1}}),
        (" train.steps =[1, 2]", {"train": {"steps": [1, 2], "rate": 1}}),
    ],
)
def test_settings(setting: str, value: dict[str, Any]) -> None:
    given = {"train": {"steps": 10, "rate": 1}}
    assert apply_settings(given, [setting]) == value
    assert given == {"train": {"steps": 10, "rate": 1}}, "what was given is not changed"


def test_the_last_setting_wins() -> None:
    assert apply_settings({}, ["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("setting", ["train.steps", "=5", "  =5", ""])
def test_a_setting_without_key_or_value(setting: str) -> None:
    with pytest.raises(RecipeError, match="--set takes key=value") as caught:
        apply_settings({}, [setting])
    assert "--set" in caught.value.hint


def test_a_setting_that_is_no_yaml_names_itself() -> None:
    with pytest.raises(RecipeError, match=r"--set train\.steps"):
        apply_settings({}, ["train.steps=["])


# Validation


def test_defaults_are_filled_and_the_result_is_frozen() -> None:
    recipe = validate(Recipe, {"name": "x", "corpora": [{"path": "p"}]}, name="r")
    assert recipe == Recipe(name="x", train=Train(steps=10), corpora=(Corpus(path="p", weight=1.0),))
    with pytest.raises(ValidationError, match="frozen"):
        recipe.name = "y"


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"nam": "x"}, "the key 'name' is missing", ""),
        ({"name": "x", "trian": {}}, "unknown key 'trian'", "Did you mean 'train'?"),
        ({"name": "x", "train": {"stesp": 1}}, "unknown key 'train.stesp'", "Did you mean 'steps'?"),
        ({"name": "x", "lora": {"learning_rat": 1}}, "unknown key 'lora.learning_rat'", "Did you mean 'learning_rate'?"),
        ({"name": "x", "corpora": [{"path": "p"}, {"pth": "p", "path": "q"}]}, "unknown key 'corpora.1.pth'", "Did you mean 'path'?"),
        ({"name": "x", "train": {"steps": "many"}}, "train.steps: input should be a valid integer", ""),
        ({"name": "x", "train": {"steps": 0}}, r"train.steps: input should be greater than 0 \(it is 0\)", ""),
        ({"name": "x", "train": None}, r"train: .*\(it is None\)", ""),
        ({"name": "x", "train": {"steps": [1] * 10_000}}, r"\(it is \[1, 1, 1, 1, 1, 1, \.\.\.\]\)", ""),
        ({"name": "x", 5: 1}, "keys should be strings", ""),
    ],
)
def test_the_first_mistake_becomes_one_sentence(values: dict[Any, Any], message: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        validate(Recipe, values, name="r.yaml")
    assert caught.value.message.startswith("r.yaml: ")
    assert caught.value.hint == (hint or "`recipes/` has examples of every section.")
    assert len(caught.value.message) < 200


def test_a_bomb_of_aliases_is_not_unfolded() -> None:
    lines = ["a0: &a0 [1, 2]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    bomb = parse_yaml("\n".join(lines), name="bomb")["a29"]
    with pytest.raises(RecipeError, match="valid integer"):
        validate(Recipe, {"name": "x", "train": {"steps": bomb}}, name="bomb")
