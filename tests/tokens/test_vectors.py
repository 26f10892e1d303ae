"""Word vectors: what a file says is what is read, hostile files cost nothing, and each piece gets the vector of its word."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError, MissingExtraError, NotFoundError, UsageError
from llamarium.tokens import vectors as module
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe
from llamarium.tokens.vectors import Vectors, read_vectors, rows_for, spellings, train_vectors

TOKENIZER = train_bpe(["the cat and The hat 模型 模型"] * 5, vocab_size=290)
GLOVE = "the 0.5 -1 2e-1\n, 1 2 3\n模型 0 0 1\n"
SPREAD = 0.02


def written(tmp_path: Path, text: str | bytes, *, packed: bool = False) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path = tmp_path / "vectors"
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def refused(path: Path, match: str) -> None:
    with pytest.raises(BadFileError, match=match) as caught:
        read_vectors(path)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    assert caught.value.hint


# --- files ---


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "text",
    [GLOVE, f"3 3\n{GLOVE}", GLOVE.rstrip("\n"), GLOVE.replace("\n", "\r\n"), "\ufeff" + GLOVE, "3 3\n" + GLOVE.replace("\n", " \n")],
    ids=["GloVe", "word2vec", "no last line end", "CRLF", "byte-order mark", "spaces at the end"],
)
def test_both_forms_are_read(tmp_path: Path, text: str, packed: bool) -> None:
    vectors = read_vectors(written(tmp_path, text, packed=packed))
    assert vectors.words == ("the", ",", "模型")
    assert vectors.rows.dtype == np.float32
    np.testing.assert_array_equal(vectors.rows, np.array([[0.5, -1, 0.2], [1, 2, 3], [0, 0, 1]], dtype=np.float32))


words = st.text(st.characters(exclude_characters=" \n\r\ufeff", exclude_categories=["Cs"]), min_size=1, max_size=6)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.dictionaries(words, st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=8), st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, table: dict[str, list[float]], header: bool) -> None:
    lines = [f"{word} {' '.join(map(repr, row))}" for word, row in table.items()]
    text = "\n".join([f"{len(table)} 3", *lines] if header else lines)
    vectors = read_vectors(written(tmp_path_factory.mktemp("vectors"), text))
    assert vectors.words == tuple(table)
    np.testing.assert_array_equal(vectors.rows, np.array(list(table.values()), dtype=np.float32))


def test_words_with_spaces_and_numbers_as_words(tmp_path: Path) -> None:
    vectors = read_vectors(written(tmp_path, "7 1 2\n. . . 3 4\nat a@b 5 6\n7 8 9\n"))
    assert vectors.words == ("7", ". . .", "at a@b")
    assert vectors.rows.tolist() == [[1, 2], [3, 4], [5, 6]]  # the first vector of a word counts


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("the 1 2 3\ncat 1 2\n", "line 2 has not a word and 3 numbers"),
        ("the 1 2 3\n\n", "line 2 has not"),
        ("the 1 2 3\ncat 1 2 3 4\n", "line 2 has more than 3 numbers"),
        ("the 1 2 3\ncat 1 2 three\n", "line 2 holds something that is not a number"),
        ("the 1 2 3\ncat 1 2 nan\n", "line 2 holds a number that is not finite"),
        ("the 1 2 3\ncat 1 2 1e39\n", "line 2 holds a number that is not finite"),
        (b"the 1 2 3\n\xff 1 2 3\n", "line 2 is not UTF-8 text"),
        ("the 1 2 3\n 1 2 3\n", "line 2 has not a word"),
        ("3 3\nthe 1 2 3\ncat 1 2 3\n", "promises 3 words in its first line and holds 2"),
        ("1 3\nthe 1 2 3\ncat 1 2 3\n", "promises 1 words in its first line and holds 2"),
        ("2 3\nthe 1 2 3\ncat 1 2\n", "line 3 has not"),
        ("the\n", "line 1 speaks of vectors of 0 numbers"),
        ("9 99999999999999999999999999\n", "line 1 speaks of vectors of 9,"),
        (f"{'9' * 5000} 0\n", "line 1 speaks of vectors of 0"),
        ("", "is empty"),
        (b"2 2\nthe \x00\x01\x02\x03\x04\xff\xfe", "line 2 has not"),
        (gzip.compress(GLOVE.encode() * 100)[:-30], "compressed data is damaged or cut off"),
        (gzip.compress(GLOVE.encode())[:12] + b"\x00" * 40, "compressed data is damaged"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str | bytes, match: str) -> None:
    refused(written(tmp_path, text), match)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_vectors(tmp_path / "none.txt")
    with pytest.raises(NotFoundError):
        read_vectors(tmp_path)


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A gigabyte of one letter takes a megabyte here, and one in memory."""
    path = written(tmp_path, gzip.compress(b"a" * (1 << 22)))
    refused(path, "line 1 is longer than 1,024 KiB")


def test_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"word{number} 1 2 3\n" for number in range(200))
    path = written(tmp_path, text + "the 1 2 3\n")
    monkeypatch.setattr(module, "MAX_BYTES", 100 * (100 + 6 + 12))
    refused(path, "line 101: the vectors up to here take more than")
    assert read_vectors(path, tokenizer=TOKENIZER).words == ("the",)  # what is not kept takes none


# --- pieces of a vocabulary ---


def test_what_pieces_spell() -> None:
    spelled = spellings(TOKENIZER)
    assert len(spelled) == TOKENIZER.vocab_size
    [the], [space_cat] = TOKENIZER.encode("the"), TOKENIZER.encode(" cat")
    assert (spelled[the], spelled[space_cat]) == ("the", "cat")
    assert all(spelled[number] == "" for number in TOKENIZER.specials.values())
    [half] = TOKENIZER.encode(b"\xe6")
    assert spelled[half] == ""  # a part of a character
    assert {"a", "模"} <= set(spellings(characters_tokenizer(["a模"])))
    assert len([word for word in spellings(bytes_tokenizer()) if word]) == 127  # ASCII but for the space, which marks a beginning


def test_a_piece_takes_the_vector_of_its_word(tmp_path: Path) -> None:
    vectors = read_vectors(written(tmp_path, "the 1 0\ncat 0 1\nhat -1 -1\n"))
    rows, found = rows_for(TOKENIZER, vectors, width=2, spread=SPREAD)
    assert (rows.shape, found.shape) == ((TOKENIZER.vocab_size, 2), (TOKENIZER.vocab_size,))
    assert (rows.dtype, found.dtype) == (np.dtype(np.float32), np.dtype(bool))
    spelled = np.array(spellings(TOKENIZER))
    assert found.tolist() == np.isin(spelled, ["the", "The", "cat", "hat"]).tolist()  # "The" in lower case
    assert (found & (spelled == "The")).any()
    assert np.array_equal(rows[spelled == "The"][0], rows[spelled == "the"][0])
    assert not rows[~found].any()
    # Scaled and moved, all alike: differences keep their direction.
    difference = rows[spelled == "the"][0] - rows[spelled == "cat"][0]
    np.testing.assert_allclose(difference[0], -difference[1], rtol=1e-5)
    assert difference[0] > 0


def test_the_exact_word_comes_before_its_lower_case() -> None:
    vectors = Vectors(("the", "The", "cat"), np.array([[1, 0], [0, 1], [-5, 2]], dtype=np.float32))
    rows, found = rows_for(TOKENIZER, vectors, width=2, spread=SPREAD)
    spelled = np.array(spellings(TOKENIZER))
    assert not np.array_equal(rows[spelled == "The"][0], rows[spelled == "the"][0])
    assert found[spelled == "The"].all()


@pytest.mark.parametrize("width", [2, 5, 9])
def test_rows_have_the_mean_and_the_spread_of_fresh_ones(width: int) -> None:
    spelled = sorted({word for word in spellings(TOKENIZER) if word.isalpha()})
    drawn = np.random.default_rng(0).normal(3, [4, 3, 2, 1, 0.1], size=(len(spelled), 5)).astype(np.float32)
    rows, found = rows_for(TOKENIZER, Vectors(tuple(spelled), drawn), width=width, spread=SPREAD)
    assert found.sum() >= len(spelled)
    assert rows[found].std() == pytest.approx(SPREAD, rel=1e-3)
    assert abs(rows[found].mean(axis=0)).max() < 1e-6
    assert not rows[:, 5:].any()
    # What is left of the distances between words: all of them, or as much as the first two axes hold.
    chosen = [int(np.flatnonzero(np.array(spellings(TOKENIZER)) == word)[0]) for word in spelled]
    distances = np.linalg.norm(rows[chosen][:, None] - rows[chosen][None], axis=-1)
    expected = np.linalg.norm(drawn[:, None] - drawn[None], axis=-1)
    correlation = np.corrcoef(distances.flatten(), expected.flatten())[0, 1]
    assert correlation > (0.85 if width == 2 else 0.9999)


def test_the_projection_keeps_what_varies_most() -> None:
    spelled = sorted({word for word in spellings(TOKENIZER) if word.isalpha()})
    drawn = np.random.default_rng(0).normal(0, [0.01, 5, 0.01], size=(len(spelled), 3)).astype(np.float32)
    rows, _ = rows_for(TOKENIZER, Vectors(tuple(spelled), drawn), width=1, spread=SPREAD)
    chosen = [int(np.flatnonzero(np.array(spellings(TOKENIZER)) == word)[0]) for word in spelled]
    assert np.corrcoef(rows[chosen, 0], drawn[:, 1])[0, 1] > 0.9999  # and not turned around
    assert np.array_equal(rows, rows_for(TOKENIZER, Vectors(tuple(spelled), drawn), width=1, spread=SPREAD)[0])


@pytest.mark.parametrize("vectors", [Vectors(("羊驼",), np.ones((1, 3), np.float32)), Vectors((), np.ones((0, 3), np.float32))], ids=str)
@pytest.mark.parametrize("width", [2, 3])
def test_no_word_is_no_row(vectors: Vectors, width: int) -> None:
    rows, found = rows_for(TOKENIZER, vectors, width=width, spread=SPREAD)
    assert not rows.any()
    assert not found.any()
    same = Vectors(("the", "cat"), np.ones((2, 3), np.float32))  # tells nothing either
    assert not rows_for(TOKENIZER, same, width=width, spread=SPREAD)[1].any()


# --- vectors of one's own ---


def test_without_gensim_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(MissingExtraError, match="gensim") as caught:
        train_vectors([[1, 2]], vocab_size=3, width=2, seed=1, spread=SPREAD)
    assert "[vectors]" in caught.value.hint


@pytest.fixture
def gensim() -> Any:
    return pytest.importorskip("gensim", reason="the extra `vectors` is not installed")


def topics(num_documents: int = 40) -> list[np.ndarray]:
    """Documents of two topics, whose ids never meet: 0 to 9 and 10 to 19."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 10, size=200).astype(np.uint16) + 10 * (number % 2) for number in range(num_documents)]


def trained(documents: Any, *, seed: int = 1, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return train_vectors(documents, vocab_size=24, width=6, seed=seed, spread=SPREAD, **options)


def separated(rows: np.ndarray) -> bool:
    """Whether the pieces of each topic lie nearer to each other than to those of the other one."""
    distances = np.linalg.norm(rows[:20, None] - rows[None, :20], axis=-1)
    inside = max(distances[:10, :10].max(), distances[10:, 10:].max())
    return bool(inside < distances[:10, 10:].min())


def test_pieces_that_stand_side_by_side_come_to_lie_side_by_side(gensim: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows, found = trained(topics())
    assert found.tolist() == [True] * 20 + [False] * 4
    assert rows.dtype == np.float32
    assert not rows[20:].any()
    assert rows[:20].std() == pytest.approx(SPREAD, rel=1e-3)
    assert separated(rows)
    assert caplog.messages == []  # the library has no advice that would reach the terminal


def test_the_same_seed_gives_the_same_numbers(gensim: Any) -> None:
    many = topics(300)  # several of the pieces of work that gensim gives to its threads
    for seed in (1, -3, 2**40):
        assert np.array_equal(trained(many, seed=seed, epochs=1)[0], trained(many, seed=seed, epochs=1)[0])
    assert not np.array_equal(trained(topics(), seed=1)[0], trained(topics(), seed=2)[0])


def test_a_long_document_is_read_to_its_end(gensim: Any) -> None:
    """gensim drops what comes after 10,000 words that it looks at, about a twentieth of these, without a word."""
    before = np.random.default_rng(1).integers(20, 24, size=400_000)
    rows, found = trained([np.concatenate([before, *topics()])], epochs=20)
    assert found.all()
    assert separated(rows)


def test_rare_pieces_have_no_row(gensim: Any) -> None:
    documents = [*topics(), [21] * 4, [22] * 5]
    assert np.flatnonzero(trained(documents)[1]).tolist() == [*range(20), 22]
    assert np.flatnonzero(trained(documents, min_count=1)[1]).tolist() == [*range(20), 21, 22]


def test_text_that_teaches_nothing_is_refused(gensim: Any) -> None:
    few: list[list[list[int]]] = [[], [[]], [[1, 2, 3]]]
    for documents in few:
        with pytest.raises(UsageError, match="nothing to learn"):
            trained(documents)
    for wrong in (24, -1):
        with pytest.raises(ValueError, match="ids must be from 0 to 23"):
            trained([[wrong]])


def test_every_kind_of_tokenizer_spells() -> None:
    tokenizers: list[Tokenizer] = [bytes_tokenizer(), characters_tokenizer(["a模"]), TOKENIZER]
    for tokenizer in tokenizers:
        vectors = Vectors(("a", "t"), np.array([[1, 2], [3, 5]], dtype=np.float32))
        rows, found = rows_for(tokenizer, vectors, width=3, spread=SPREAD)
        assert found.any()
        assert rows[found].any()
