"""Tokenizers side by side: sums that can be done by hand."""

from __future__ import annotations

import pytest

from llamarium.tokens.compare import Text, compare, top_folders
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe

TEXTS = [
    Text("the cat, the hat", "en", "docs/a/one.md#1"),
    Text("羊驼吃草。", "zh", "docs/b/two.md"),
    Text("a b", "en", "docs/b/two.md"),
    Text("", "", "docs/c.txt"),
]


def test_sums_by_hand() -> None:
    whole = compare({"bytes": bytes_tokenizer(), "characters": characters_tokenizer([text.text for text in TEXTS])}, TEXTS)
    by_bytes, by_characters = whole
    assert [each.name for each in whole] == ["bytes", "characters"]
    assert by_bytes.total.num_bytes == by_bytes.total.num_tokens == 16 + 15 + 3
    assert by_bytes.total.bytes_per_token == 1
    assert by_characters.total.tokens_per_character == 1
    assert by_characters.languages["zh"].bytes_per_token == 3
    # "the cat, the hat" has four words, a b two, and each of 羊 驼 吃 草 is one.
    assert by_characters.total.num_words == 4 + 2 + 4
    assert by_characters.languages["en"].fertility == pytest.approx(19 / 6)
    assert list(by_bytes.languages) == ["en", "zh", "unknown"]
    assert {name: part.num_bytes for name, part in by_bytes.sources.items()} == {"b": 18, "a": 16, "c.txt": 0}
    assert by_bytes.megabytes_per_second > 0
    for each in whole:
        for parts in (each.languages, each.sources):
            assert sum(part.num_tokens for part in parts.values()) == each.total.num_tokens


def test_what_does_not_come_back_is_counted() -> None:
    rust = train_bpe(["羊驼吃草。"] * 3, vocab_size=270)
    lossy = Tokenizer(rust.definition.replace('"normalizer":null', '"normalizer":{"type":"Lowercase"}'), rust.config)
    texts = [Text("The", "en", "a"), Text("the", "en", "b")]
    assert [each.num_lost for each in compare({"lossy": lossy, "bpe": rust}, texts)] == [1, 0]


def test_the_figures_as_json() -> None:
    value = compare({"bytes": bytes_tokenizer()}, TEXTS)[0].as_json()
    assert value["bytes_per_token"] == value["languages"]["zh"]["bytes_per_token"] == 1
    assert value["languages"]["zh"]["tokens_per_character"] == 3
    assert (value["tokens"], value["vocab_size"], value["documents_lost"]) == (34, 259, 0)


def test_nothing_to_measure() -> None:
    assert compare({"bytes": bytes_tokenizer()}, [])[0].total.bytes_per_token == 0


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a.md", "b.md#2"], ["a.md", "b.md"]),
        (["docs/a.md", "docs/b.md"], ["a.md", "b.md"]),
        (["docs/en/a.md", "docs/en/b.md", "docs/zh/c.md"], ["en", "en", "zh"]),
        (["a.zip/x.txt", "a.zip/y.txt", "b/c"], ["a.zip", "a.zip", "b"]),
        (["same.jsonl#1", "same.jsonl#2"], ["same.jsonl", "same.jsonl"]),
        ([], []),
        ([""], [""]),
    ],
)
def test_sources_are_named_by_where_they_part(sources: list[str], expected: list[str]) -> None:
    assert top_folders(sources) == expected
