"""P10: any bytes are valid text: encode → decode loses nothing, and nothing crashes on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.tokens import tokenizer as module
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, characters_tokenizer, train_bpe, train_unigram

TEXTS = [
    "The llama reads what it is given.",
    "羊驼读它得到的文本。",
    "x = [1, 2, 3]\r\n",
    "family: 👩‍👩‍👧, right to left: \u202eשלום\u202c",
]
TOKENIZERS = {
    "byte-level BPE": train_bpe(TEXTS * 4, vocab_size=360),
    "byte-level Unigram": train_unigram(TEXTS * 4, vocab_size=300),
    "bytes": bytes_tokenizer(),
    "characters": characters_tokenizer(TEXTS),
}
HARD = {
    "nothing": "",
    "NUL": "a\x00b\x00",
    "byte-order mark": "\ufeffbegin, \ufeffmiddle",
    "CRLF": "one\r\ntwo\rthree\n\r\n",
    "high surrogate": "a\ud83db",
    "low surrogate": "\ude00",
    "a pair of surrogates": "\ud83d\ude00",
    "right to left": "\u202e\u0645\u0631\u062d\u0628\u0627\u202c שלום",
    "joined emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "combining": "e\u0301 != é",
    "noncharacter": "\uffff\U0010ffff",
    "private use": "\ue000\uf8ff",
    "special token": "<|endoftext|><|im_start|>",
    "name of a byte token": "<0x41><0x00>",
    "sentencepiece's space": "▁a▁",
    "byte-level's space": "ĠaĊ",
}
BYTES = [b"", b"\x00\xff\xfe", "羊".encode()[:2], b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xc0\xafb", bytes(range(256))]

any_character = st.characters(exclude_categories=())  # lone surrogates, too
some_text = st.text(any_character, max_size=60) | st.lists(st.sampled_from([*HARD.values(), *TEXTS]), max_size=4).map("".join)


def loses_nothing(tokenizer: Tokenizer, text: str | bytes) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode_bytes(ids) == (text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    if isinstance(text, str):
        assert tokenizer.decode(ids) == text
    assert all(0 <= number < tokenizer.vocab_size for number in ids)
    assert not set(ids) & set(tokenizer.specials.values())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_any_text_comes_back(name: str) -> None:
    for text in HARD.values():
        loses_nothing(TOKENIZERS[name], text)

    @given(some_text)
    @settings(max_examples=300, deadline=None)
    def check(text: str) -> None:
        loses_nothing(TOKENIZERS[name], text)

    check()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_any_bytes_come_back(name: str) -> None:
    for data in BYTES:
        loses_nothing(TOKENIZERS[name], data)

    @given(st.binary(max_size=80))
    @example(bytes(range(255, -1, -1)))
    @settings(max_examples=300, deadline=None)
    def check(data: bytes) -> None:
        loses_nothing(TOKENIZERS[name], data)

    check()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_that_are_asked_for_lose_nothing_either(name: str) -> None:
    @given(some_text)
    @settings(max_examples=100, deadline=None)
    def check(text: str) -> None:
        tokenizer = TOKENIZERS[name]
        assert tokenizer.decode(tokenizer.encode(text, parse_special=True)) == text

    check()


LINES: dict[str, Callable[[int], str]] = {
    "words": lambda size: ("llama reads what it is given 羊驼 and 3 more, " * (1 + size // 40))[:size],
    "Chinese": lambda size: ("羊驼读它得到的文本，" * (1 + size // 10))[:size],
    "one letter": lambda size: "a" * size,
}


def a_long_line(tokenizer: Tokenizer, line: str) -> None:
    """Its ids lose nothing and are those of its pieces, cut where we, and not the tokenizer, choose to."""
    ids = tokenizer.encode(line)
    assert tokenizer.decode(ids) == line
    if " " not in line and "，" not in line:
        return  # no place where a cut could leave the ids as they are
    pieces, start = [], 0
    while start < len(line):
        end = start + (1 << 16)
        if end < len(line):
            end = max(line.rfind(" ", start, end), line.rfind("，", start, end))
        pieces.append(line[start:end])
        start = end
    # Compared outside the assertion: a report that shows where two lists of a million differ takes minutes to draw.
    same = ids == [number for piece in tokenizer.encode_batch(pieces) for number in piece]
    assert same, "the ids of a long line are not those of its pieces"


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_long_line(name: str, line: str) -> None:
    a_long_line(TOKENIZERS[name], LINES[line](1_000_000))


def test_a_line_of_5_mb() -> None:
    a_long_line(TOKENIZERS["byte-level BPE"], LINES["words"](5_000_000))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("line", LINES)
def test_a_line_of_100_mb(line: str) -> None:
    a_long_line(TOKENIZERS["byte-level BPE"], LINES[line](100_000_000 if line != "Chinese" else 34_000_000))


@pytest.mark.timeout(20)
def test_a_long_run_of_what_is_no_text() -> None:
    loses_nothing(TOKENIZERS["byte-level BPE"], b"\xff" * 5_000_000)


# --- the controls: each mechanism is taken away, and the promise must be seen to break ---

CONTROLS = {
    "surrogates are not split off": ("_split_surrogates", lambda text: [text]),
    "surrogates are replaced": ("_split_surrogates", lambda text: [module._replace_surrogates(text)]),
    "surrogates are dropped": ("_split_surrogates", lambda text: [text.encode("utf-8", "ignore").decode()]),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_control_without_the_mechanism_the_promise_breaks(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, *CONTROLS[control])
    for tokenizer in TOKENIZERS.values():
        with pytest.raises((AssertionError, TypeError, UnicodeEncodeError, BadFileError)):
            loses_nothing(tokenizer, HARD["high surrogate"])


def test_control_special_tokens_that_are_parsed_are_seen() -> None:
    tokenizer = TOKENIZERS["byte-level BPE"]
    ids = tokenizer.encode(HARD["special token"], parse_special=True)
    assert set(ids) & set(tokenizer.specials.values())


def test_control_a_cut_inside_words_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "_place_to_cut", lambda self, text, start: (start + 100_003, start + 100_003))
    with pytest.raises(AssertionError):
        a_long_line(TOKENIZERS["byte-level BPE"], LINES["words"](1_000_000))
