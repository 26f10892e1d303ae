"""Tokenizers of one's own: the size that was asked for, the specials in their places, and a vocabulary learnt from the text."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import tokenizers
from tokenizers import models, trainers

from llamarium.ground.errors import UsageError
from llamarium.tokens import train as module
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import (
    LARGEST,
    SMALLEST,
    SPECIALS,
    bytes_tokenizer,
    characters_tokenizer,
    train,
    train_bpe,
    train_unigram,
)

TEXTS = ["the cat and the hat and the bat that sat", "羊驼读文本，文本被羊驼读。", "1234567 numbers"] * 5


def test_a_vocabulary_is_as_large_as_asked_or_as_the_text_allows() -> None:
    assert train_bpe(TEXTS, vocab_size=280).vocab_size == 280
    assert train_bpe(["aaa"], vocab_size=5000).vocab_size < 300
    assert train_bpe([], vocab_size=SMALLEST).vocab_size == SMALLEST


def test_what_is_frequent_becomes_one_token() -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=400)
    assert len(tokenizer.encode(" the")) == len(tokenizer.encode("羊驼")) == 1
    assert len(tokenizer.encode(" the cat")) < len(bytes_tokenizer().encode(" the cat"))


def test_training_is_the_same_every_time() -> None:
    assert train_bpe(TEXTS, vocab_size=300).sha256 == train_bpe(TEXTS, vocab_size=300).sha256
    assert train_bpe(TEXTS, vocab_size=300).sha256 != train_bpe(TEXTS[:1], vocab_size=300).sha256


def test_a_vocabulary_too_small_for_the_bytes_is_refused() -> None:
    for learn in (train_bpe, train_unigram):
        with pytest.raises(UsageError, match=f"at least {SMALLEST} tokens, not {SMALLEST - 1}"):
            learn(TEXTS, vocab_size=SMALLEST - 1)
        with pytest.raises(UsageError, match="larger than any"):
            learn(TEXTS, vocab_size=LARGEST + 1)


def test_texts_that_are_no_unicode_are_learnt_from_all_the_same() -> None:
    assert train_bpe(["the cat \ud800 the"] * 5, vocab_size=270).encode("the cat") == train_bpe(
        ["the cat  the"] * 5, vocab_size=270
    ).encode("the cat")
    tokenizer = characters_tokenizer(["ab\ud800"])
    assert tokenizer.vocab_size == len(SPECIALS) + 256 + 2


@pytest.mark.parametrize(
    "tokenizer",
    [train_bpe(TEXTS, vocab_size=300), train_unigram(TEXTS, vocab_size=280), bytes_tokenizer(), characters_tokenizer(TEXTS)],
)
def test_each_has_the_tokens_of_documents_and_conversations(tokenizer: Tokenizer) -> None:
    assert tuple(tokenizer.specials) == SPECIALS
    assert tokenizer.begin_id == tokenizer.end_id == tokenizer.specials["<|endoftext|>"]
    assert tokenizer.stop_ids == {tokenizer.specials["<|endoftext|>"], tokenizer.specials["<|im_end|>"]}


def test_numbers_are_cut_into_threes_and_words_keep_the_space_before_them() -> None:
    tokenizer = train_bpe(["12345678 the cat the cat"] * 50, vocab_size=400)
    assert [tokenizer.decode([number]) for number in tokenizer.encode("12345678 the cat")] == ["123", "456", "78", " the", " cat"]


def test_bytes_are_one_token_each() -> None:
    tokenizer = bytes_tokenizer()
    assert tokenizer.vocab_size == 259
    assert len(tokenizer.encode("羊a")) == 4
    assert len(set(tokenizer.encode(bytes(range(256))))) == 256


def test_characters_are_one_token_each_where_they_were_seen() -> None:
    tokenizer = characters_tokenizer(["羊驼 a\n"])
    assert len(tokenizer.encode("驼羊\na")) == 4
    assert len(tokenizer.encode("马")) == 3  # its bytes
    assert tokenizer.decode(tokenizer.encode("马")) == "马"


# --- Unigram ---------------------------------------------------------------------------------------------------------

PROSE = [topic[:2000] for _, topic in sorted(topics.items())][:40] + ["羊驼读文本，羊驼吃草。"] * 9


def pieces_of(tokenizer: Tokenizer) -> list[str]:
    return [piece for piece, _ in json.loads(tokenizer.definition)["model"]["vocab"]]


def test_unigram_learns_pieces_and_keeps_to_the_size() -> None:
    tokenizer = train(PROSE, vocab_size=600, kind="unigram")
    assert tokenizer.vocab_size == 600
    assert len(tokenizer.encode(" the")) == len(tokenizer.encode("羊驼")) == 1
    # The library adds up in an order of its own, so the last few pieces are not the same every time.
    again = train_unigram(PROSE, vocab_size=600)
    assert len(set(pieces_of(tokenizer)) & set(pieces_of(again))) > 0.97 * 600
    assert train_unigram(["aaa"], vocab_size=5000).vocab_size < 300


def test_unigram_takes_the_most_probable_path() -> None:
    """Kudo 2018, equation 4: no other way to cut a word has a larger sum of log-probabilities."""
    tokenizer = train_unigram(PROSE, vocab_size=500)
    score = dict(json.loads(tokenizer.definition)["model"]["vocab"])

    def best(word: str) -> float:
        values = [0.0] + [float("-inf")] * len(word)
        for end in range(1, len(word) + 1):
            values[end] = max((values[start] + score[word[start:end]] for start in range(end) if word[start:end] in score), default=-1e9)
        return values[-1]

    names = dict(enumerate(score))
    for word in ("statement", "evaluates", "expressions", "nonsense"):
        assert sum(score[names[number]] for number in tokenizer.encode(word)) == pytest.approx(best(word))


def test_unigram_without_text_and_a_kind_that_is_none_are_refused() -> None:
    for texts in ([], ["", ""]):
        with pytest.raises(UsageError, match="no text"):
            train_unigram(texts, vocab_size=300)
    with pytest.raises(UsageError, match="'bqe'") as caught:
        train(PROSE, vocab_size=300, kind="bqe")
    assert "bpe" in caught.value.hint


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_transformers_gives_the_same_ids(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = train(PROSE, vocab_size=300, kind=kind)
    Tokenizer(tokenizer.definition, {**tokenizer.config, "trained_on": {"kind": kind, "bytes": 1}}).save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ["the llama", "羊驼 reads\n\n 12345 👩‍👩‍👧", "", "Ünseen ↗ \x00"]:
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text


def test_long_learning_says_that_it_goes_on(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it learns, when no text comes any more and the library is silent."""
    signs = module._signs_of_life

    def slow(texts: Iterator[str], *, trainer: object) -> None:
        list(texts)
        time.sleep(0.2)

    class Slow:
        train_from_iterator = staticmethod(slow)

    monkeypatch.setattr(module, "_signs_of_life", lambda name, *, after: signs(name, after=after, interval=0.02))
    module._learn(Slow(), ["a"], object(), quiet=False)  # type: ignore[arg-type]
    assert said
    assert all(line.startswith("learning pieces: 0 s") for line in said)
    said.clear()
    module._learn(Slow(), ["a"], object(), quiet=True)  # type: ignore[arg-type]
    assert not said


# --- What the concept page shows -------------------------------------------------------------------------------------


def shown() -> dict[str, Any]:
    """The functions of docs/concepts/tokenizers.md."""
    page = Path(__file__).parents[2] / "docs" / "concepts" / "tokenizers.md"
    names: dict[str, Any] = {"Counter": Counter}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if block.startswith("def "):
            exec(block, names)
    return names


def test_the_lines_of_the_concept_page_are_bpe() -> None:
    # No two pairs are ever equally frequent here: which of them comes first, the formula leaves open.
    often = (75, 88, 21, 56, 82, 51, 66, 48, 70, 57, 65, 35)
    words = dict(
        zip(["lower", "newest", "went", "now", "tower", "slow", "well", "new", "owl", "widest", "stew", "low"], often, strict=True)
    )
    page = shown()
    merges = page["learn"]({tuple(word): count for word, count in words.items()}, 9)
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.train_from_iterator(
        [word for word, count in words.items() for _ in range(count)],
        trainer=trainers.BpeTrainer(vocab_size=len(set("".join(words))) + 9, show_progress=False),
    )
    assert [tuple(merge) for merge in json.loads(theirs.to_str())["model"]["merges"]] == merges
    for word in (*words, "lowest", "wider"):
        assert list(page["encode"](tuple(word), merges)) == theirs.encode(word).tokens


def test_the_lines_of_the_concept_page_are_unigram() -> None:
    tokenizer = train_unigram(PROSE, vocab_size=500)
    score = dict(json.loads(tokenizer.definition)["model"]["vocab"])
    names = list(score)
    for word in ("statement", "evaluates", "nonsense"):
        assert [names[number] for number in tokenizer.encode(word)] == list(shown()["best_path"](word, score))
