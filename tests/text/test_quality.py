from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from llamarium.ground.errors import BadFileError, UsageError
from llamarium.text.quality import Quality, auroc, train

CARE = ["measured", "because", "section", "figure", "result", "method", "shows", "compare", "因此", "方法", "结果"]
SHOUT = ["buy", "now", "cheap", "click", "free", "winner", "amazing", "点击", "免费", "赚钱"]
COMMON = ["the", "a", "of", "we", "it", "is", "and", "to", "的", "是", "在"]


def texts(words: list[str], seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(words + COMMON * 2, k=60)) for _ in range(count)]


def test_what_is_like_the_examples_scores_high() -> None:
    model = train(texts(CARE, 1, 40), texts(SHOUT, 2, 40))
    assert model.auroc > 0.99
    assert min(map(model.score, texts(CARE, 3, 20))) > 0.5 > max(map(model.score, texts(SHOUT, 4, 20)))
    assert model.score("") == pytest.approx(model.score("?!"))


def test_examples_that_do_not_differ_teach_nothing_and_that_is_said() -> None:
    model = train(texts(COMMON, 1, 60), texts(COMMON, 2, 60))
    assert 0.3 < model.auroc < 0.7


def test_a_few_on_one_side_count_as_much_as_many_on_the_other() -> None:
    model = train(texts(CARE, 1, 6), texts(SHOUT, 2, 200))
    assert np.mean([model.score(text) > 0.5 for text in texts(CARE, 3, 50)]) > 0.9


def test_the_same_examples_make_the_same_model_and_a_file_keeps_it(tmp_path: Path) -> None:
    first, second = (train(texts(CARE, 1, 10), texts(SHOUT, 2, 10)) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    first.save(tmp_path / "model.npy")
    again = Quality.open(tmp_path / "model.npy")
    assert again.score("因此 we compare") == first.score("因此 we compare")


def test_too_few_examples_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There are 2 examples of what is wanted and 9 of what is not"):
        train(["a", "b"], ["c"] * 9)
    (tmp_path / "x.npy").write_bytes(b"no model")
    with pytest.raises(BadFileError, match="is not a quality model"):
        Quality.open(tmp_path / "x.npy")


def test_auroc_against_counting_pairs() -> None:
    source = np.random.default_rng(0)
    scores, wanted = source.integers(0, 10, 60).astype(np.float64), source.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[wanted] for b in scores[~wanted]]
    assert auroc(scores, wanted) == pytest.approx(np.mean(pairs))
