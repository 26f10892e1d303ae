"""Lines are scored as documents are, in the order they came in; n-best lists are read and ranked as those who write them mean it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.evaluate.lines import Hypothesis, Line, rank, read_nbest, score_lines, split_lines
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.models import families, family, llama
from llamarium.models.context import Dense
from llamarium.models.model import Fitted, Model, Network
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer

TEXTS = ["a llama", "", "模型会说话。", "a llama", "the llama that eats grass in the hay"]
TOKENIZER = bytes_tokenizer()
BEGINNING = Tokenizer(TOKENIZER.definition, {**TOKENIZER.config, "bos_token": "#"})  # texts begin with another token than they end with


def tiny(context_length: int = 64) -> llama.Model:
    torch.manual_seed(0)
    model = llama.Model(llama.Config(vocab_size=259, width=32, layers=2, heads=2, context_length=context_length))
    model.initialize()
    for parameter in model.parameters():
        parameter.data.mul_(5)
    return model.eval()


def any_family(name: str) -> Model:
    model: Model = family(name).Model(replace(family(name).TINY, vocab_size=259))
    torch.manual_seed(0)
    if isinstance(model, Network):
        model.initialize()
    else:
        assert isinstance(model, Fitted)
        model.fit([[TOKENIZER.begin_id, *ids, TOKENIZER.end_id] for ids in TOKENIZER.encode_batch(TEXTS)])
    return model.eval()


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("tokenizer", [TOKENIZER, BEGINNING], ids=["one mark", "two marks"])
def test_by_hand(tokenizer: Tokenizer, end: bool) -> None:
    model = tiny()
    for line in score_lines(model, tokenizer, TEXTS, end=end):
        ids = torch.tensor([[tokenizer.begin_id, *tokenizer.encode(line.text), *([tokenizer.end_id] if end else [])]])
        with torch.no_grad():
            log_p = torch.log_softmax(model(ids, Dense(ids))[0].double(), -1)[:-1].gather(1, ids[0, 1:, None]).sum().item()
        assert line.log_probability == pytest.approx(log_p, abs=1e-4)
        assert (line.tokens, line.bytes) == (ids.shape[1] - 1, len(line.text.encode()))


def test_lines_keep_their_order_and_are_alone() -> None:
    model = tiny()
    lines = score_lines(model, TOKENIZER, TEXTS)
    assert [line.text for line in lines] == TEXTS
    assert lines[0].log_probability == pytest.approx(lines[3].log_probability, abs=1e-5)
    alone = [score_lines(model, TOKENIZER, [text])[0].log_probability for text in TEXTS]
    assert [line.log_probability for line in lines] == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("context_length", [64, 8])
def test_together_they_are_what_evaluate_says(context_length: int) -> None:
    """Also where lines are longer than the context."""
    model = tiny(context_length)
    lines, score = score_lines(model, TOKENIZER, TEXTS), bits_per_byte(model, TOKENIZER, TEXTS)
    assert sum(line.tokens for line in lines) == score.tokens
    nats = -sum(line.log_probability for line in lines)
    assert nats / math.log(2) / score.bytes == pytest.approx(score.bits_per_byte, rel=1e-6)


@pytest.mark.parametrize("name", families())
def test_every_family_that_gives_probabilities(name: str) -> None:
    model = any_family(name)
    if model.KIND == "encoder":
        for texts in (TEXTS, []):
            with pytest.raises(UsageError, match=f"both sides of a place \\({name}\\)"):
                score_lines(model, TOKENIZER, texts)
        return
    lines = score_lines(model, TOKENIZER, TEXTS)
    assert all(-500 < line.log_probability < 0 for line in lines)
    assert [line.tokens for line in lines] == [line.bytes + 1 for line in lines]
    assert score_lines(model, TOKENIZER, []) == []


def test_means_over_tokens_and_bytes() -> None:
    line = Line("模型", -12.0, tokens=3, bytes=6)
    assert [line.score("total"), line.score("token"), line.score("byte")] == [-12, -4, -2]
    assert line.bits_per_byte == pytest.approx(2 / math.log(2))
    empty = Line("", 0.0, tokens=0, bytes=0)
    assert empty.score("total") == 0
    assert all(math.isnan(number) for number in (empty.score("token"), empty.score("byte"), empty.bits_per_byte))


# --- lines of a file ---


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb\n\n", ["a", "", "b", ""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb", ["a\rb"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("a\x0b\x0c\x1c\x85\u2028b\n".encode(), ["a\x0b\x0c\x1c\x85\u2028b"]),
    ],
)
def test_only_line_feeds_end_lines(data: bytes, lines: list[str]) -> None:
    assert split_lines(data, name="x") == lines


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n\r"))))
def test_what_is_written_a_line_each_is_read_so(lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    if not data.startswith(b"\xef\xbb\xbf"):
        assert split_lines(data, name="x") == lines


def test_bytes_that_are_no_text_are_named() -> None:
    with pytest.raises(BadFileError, match=r"x\.txt, line 3, byte 7: is not UTF-8 text") as caught:
        split_lines(b"on\ntw\nt\xff\n", name="x.txt")
    assert caught.value.exit_code == 3


# --- n-best lists ---


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("3 ||| a b ||| lm: -1 ||| -3.5", Hypothesis("3", "a b", -3.5)),
        ("3 ||| a b ||| lm: -1 ||| -3.5 ||| 0-0 1-1", Hypothesis("3", "a b", -3.5)),
        ("3 ||| a b ||| -3.5", Hypothesis("3", "a b", -3.5)),
        ("3 ||| a b", Hypothesis("3", "a b", 0.0)),
        ("3 |||  ||| -1e2", Hypothesis("3", "", -100.0)),
        ("u-1\t-3.5\ta b", Hypothesis("u-1", "a b", -3.5)),
        ("u-1\t-3.5\ta\tb", Hypothesis("u-1", "a\tb", -3.5)),
        ("u-1\t-3.5\t", Hypothesis("u-1", "", -3.5)),
        ("u-1\ta b", Hypothesis("u-1", "a b", 0.0)),
    ],
)
def test_forms_of_nbest_lists(line: str, found: Hypothesis) -> None:
    assert read_nbest([line, "", line], name="x") == [found, found]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a b", "has no id"),
        ("3 ||| a ||| b", "has 'b' where its score"),
        ("3\tb\ta", "has 'b' where its score"),
        ("3\tnan\ta", "has 'nan' where its score"),
        ("3 ||| a ||| f ||| -inf", "has '-inf' where its score"),
        ("3 ||| a ||| f |||", "has '' where its score"),
    ],
)
def test_what_is_no_nbest_list(line: str, reason: str) -> None:
    with pytest.raises(BadFileError, match=reason) as caught:
        read_nbest(["1\t-1\tfine", line], name="x")
    assert caught.value.path == "x, line 2"
    assert "|||" in caught.value.hint


def test_weight_decides_between_two_scores() -> None:
    given_first = [Hypothesis("1", "a", -1.0), Hypothesis("2", "c", 0.0), Hypothesis("1", "b", -2.0)]
    scores = [-5.0, -1.0, -3.0]
    assert [[each.text for each in group] for group in rank(given_first, scores, weight=0)] == [["a", "b"], ["c"]]
    assert [[each.text for each in group] for group in rank(given_first, scores)] == [["b", "a"], ["c"]]
    assert [[each.text for each in group] for group in rank(given_first, scores, weight=-1)] == [["a", "b"], ["c"]]
    assert rank(given_first, scores, weight=0.5)[0] == [Hypothesis("1", "a", -3.5), Hypothesis("1", "b", -3.5)], "the earlier one first"


def test_what_has_no_score_comes_last() -> None:
    lines = [Hypothesis("1", text) for text in "abc"]
    assert [each.text for each in rank(lines, [math.nan, -math.inf, -9.0])[0]] == ["c", "b", "a"]


@given(st.lists(st.tuples(st.sampled_from("123"), st.floats(-1e6, 0), st.floats(-1e6, 0)), min_size=1))
def test_ranking_only_orders(rows: list[tuple[str, float, float]]) -> None:
    lines = [Hypothesis(name, str(place), score) for place, (name, score, _) in enumerate(rows)]
    ranked = rank(lines, [score for *_, score in rows])
    assert [group[0].id for group in ranked] == list(dict.fromkeys(name for name, *_ in rows))
    assert sorted(int(each.text) for group in ranked for each in group) == list(range(len(rows)))
    for group in ranked:
        assert len({each.id for each in group}) == 1
        assert all(one.score >= other.score for one, other in itertools.pairwise(group))
    assert {each.text: each.score for group in ranked for each in group} == {str(n): rows[n][1] + rows[n][2] for n in range(len(rows))}
