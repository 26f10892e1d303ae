"""The grammar against all derivations written out, against nltk, and against itself however it is asked."""

from __future__ import annotations

import dataclasses
import doctest
import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from llamarium.checkpoint import huggingface
from llamarium.engine.generate import generate
from llamarium.engine.sample import Sampling
from llamarium.ground.errors import BadFileError, UsageError
from llamarium.models import pcfg
from llamarium.models.context import Cached, Dense, Packed
from llamarium.models.pcfg import TINY, Config, Model
from llamarium.tokens.grammar import Grammar, Rule, Tree, from_trees, read_grammar, read_trees, write_grammar, write_tree
from llamarium.tokens.train import bytes_tokenizer, train_bpe

V = 4  # 0 ends a sentence, 1 … 3 are words
EXACT = 1e-13  # a share of smoothing that no comparison sees

# --- grammars whose language is finite: every derivation can be written out ---

SYMBOLS = ("S", "A", "B", "C")


@st.composite
def finite_grammars(draw: Any) -> Grammar:
    """Each symbol becomes later ones only; right sides of one to three, units and words among longer ones included."""
    rules: list[Rule] = []
    for place, left in enumerate(SYMBOLS):
        part = st.one_of(st.integers(1, V - 1), st.sampled_from(SYMBOLS[place + 1 :])) if place < 3 else st.integers(1, V - 1)
        rights = draw(
            st.lists(st.lists(part, min_size=1, max_size=3 if place in (0, 2) else 2).map(tuple), min_size=1, max_size=3, unique=True)
        )
        weights = draw(st.lists(st.integers(1, 5), min_size=len(rights), max_size=len(rights)))
        rules += [Rule(left, right, weight / sum(weights)) for right, weight in zip(rights, weights, strict=True)]
    return Grammar(tuple(rules))


def derivations(grammar: Grammar) -> list[tuple[tuple[int, ...], float, tuple[int, ...]]]:
    """Words, probability and numbers of the rules of each derivation of a finite grammar."""

    def of(part: str | int) -> list[tuple[tuple[int, ...], float, tuple[int, ...]]]:
        if isinstance(part, int):
            return [((part,), 1.0, ())]
        found = []
        for number, rule in enumerate(grammar.rules):
            if rule.left == part:
                for choice in itertools.product(*map(of, rule.right)):
                    words = tuple(itertools.chain.from_iterable(each[0] for each in choice))
                    used = (number, *itertools.chain.from_iterable(each[2] for each in choice))
                    found.append((words, rule.weight * math.prod(each[1] for each in choice), used))
        return found

    return of(grammar.start)


def few(grammar: Grammar) -> bool:
    """Whether its derivations can be written out in no time."""
    number = dict.fromkeys(SYMBOLS, 0)
    for left in reversed(SYMBOLS):
        number[left] = sum(
            math.prod(number[part] if isinstance(part, str) else 1 for part in rule.right) for rule in grammar.rules if rule.left == left
        )
    return number["S"] <= 400


finite = finite_grammars().filter(few)


def language(grammar: Grammar) -> dict[tuple[int, ...], float]:
    """The probability of each sentence."""
    found: Counter[tuple[int, ...]] = Counter()
    for words, p, _ in derivations(grammar):
        found[words] += p  # type: ignore[assignment]
    return dict(found)


def exact(grammar: Grammar, **options: Any) -> Model:
    return Model.from_grammar(grammar, vocab_size=V, smoothing=EXACT, **options)


def distributions(model: Model, ids: list[int]) -> np.ndarray:
    """p of every next id after each position: (T, V)."""
    ids_BT = torch.tensor([ids])
    return model(ids_BT, Dense(ids_BT))[0].double().exp().numpy()  # type: ignore[no-any-return]


@given(finite)
@settings(max_examples=50, deadline=None)
def test_a_sentence_is_as_probable_as_all_its_derivations(grammar: Grammar) -> None:
    model, expected = exact(grammar), language(grammar)
    assert math.fsum(expected.values()) == pytest.approx(1)
    for words, p in itertools.islice(expected.items(), 30):
        assert 2 ** model.log2_sentence(words) == pytest.approx(p, rel=1e-9)
        assert 2 ** model.log2_prob([0, *words, 0])[1:].sum() == pytest.approx(p, rel=1e-6)
    for words in itertools.product(range(1, V), repeat=3):
        if words not in expected:
            assert model.log2_sentence(words) == -math.inf
            assert model.parse(words) is None


@given(finite)
@settings(max_examples=50, deadline=None)
def test_a_prefix_is_as_probable_as_all_sentences_that_begin_with_it(grammar: Grammar) -> None:
    model, sentences = exact(grammar), language(grammar)
    prefixes: Counter[tuple[int, ...]] = Counter()
    for words, p in sentences.items():
        for length in range(len(words) + 1):
            prefixes[words[:length]] += p  # type: ignore[assignment]
    for words in list(sentences)[:10]:
        found = distributions(model, [0, *words])
        for length in range(len(words) + 1):
            before = words[:length]
            expected = [sentences.get(before, 0), *(prefixes[*before, word] for word in range(1, V))]
            np.testing.assert_allclose(found[length], np.array(expected) / prefixes[before], atol=1e-6)


def test_control_prefixes_without_what_is_down_the_left_edge_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rules_of = Model._rules_of
    monkeypatch.setattr(Model, "_rules_of", lambda self: dataclasses.replace(rules_of(self), corners=rules_of(self).closure))
    with pytest.raises(AssertionError):
        test_left_recursion_and_rules_that_call_themselves()


@given(finite)
@settings(max_examples=50, deadline=None)
def test_the_best_tree_is_the_best_derivation(grammar: Grammar) -> None:
    model = exact(grammar)
    best: dict[tuple[int, ...], float] = {}
    for words, p, _ in derivations(grammar):
        best[words] = max(p, best.get(words, 0))
    weight = {(rule.left, rule.right): rule.weight for rule in grammar.rules}
    for words, p in itertools.islice(best.items(), 20):
        parse = model.parse(words)
        assert parse is not None
        assert 2**parse.log2_prob == pytest.approx(p)
        assert parse.tree.ids == list(words)
        assert math.prod(weight[rule] for rule in parse.tree.rules) == pytest.approx(p)  # in the grammar's own symbols


@given(finite, st.data())
@settings(max_examples=50, deadline=None)
def test_a_step_counts_what_the_derivations_use(grammar: Grammar, data: st.DataObject) -> None:
    model = exact(grammar)
    found = derivations(grammar)
    sentences = data.draw(st.lists(st.sampled_from(sorted(language(grammar))), min_size=1, max_size=4))
    counts = [0.0] * len(grammar.rules)
    for words in sentences:
        mine = [(p, used) for other, p, used in found if other == words]
        for p, used in mine:
            for number in used:
                counts[number] += p / sum(each for each, _ in mine)
    before = model.reestimate([[*words, 0] for words in sentences])
    assert before == [pytest.approx(sum(math.log2(language(grammar)[words]) for words in sentences))]
    for rule, other in zip(grammar.rules, model.grammar().rules, strict=True):
        total = sum(count for count, each in zip(counts, grammar.rules, strict=True) if each.left == rule.left)
        count = counts[grammar.rules.index(rule)]
        assert other.weight == pytest.approx(count / total if total else rule.weight, abs=1e-9)


@given(finite)
@settings(max_examples=25, deadline=None)
def test_what_is_drawn_is_of_the_language(grammar: Grammar) -> None:
    model, sentences = exact(grammar), language(grammar)
    generator = torch.Generator().manual_seed(0)
    weight = {(rule.left, rule.right) for rule in grammar.rules}
    for _ in range(10):
        tree = model.sample_tree(generator)
        assert tuple(tree.ids) in sentences
        assert set(tree.rules) <= weight


@given(finite)
@settings(max_examples=50, deadline=None)
def test_a_grammar_comes_out_as_it_went_in(grammar: Grammar) -> None:
    assert exact(grammar).grammar() == grammar


# --- grammars without an end to their language ---


def test_left_recursion_and_rules_that_call_themselves() -> None:
    """S -> S S: as many trees as Catalan numbers. A prefix is all longer ones, and what never ends."""
    model = exact(Grammar((Rule("S", ("S", "S"), 0.3), Rule("S", (1,), 0.7))))

    def p(words: int) -> float:
        return math.comb(2 * words - 2, words - 1) / words * 0.3 ** (words - 1) * 0.7**words

    found = distributions(model, [0] + [1] * 12)
    tails = [1 - math.fsum(p(words) for words in range(1, length)) for length in range(14)]
    for length in range(1, 13):
        assert 2 ** model.log2_sentence([1] * length) == pytest.approx(p(length))
        assert found[length, 1] == pytest.approx(tails[length + 1] / tails[length], rel=1e-5)
        assert found[length, 0] == pytest.approx(p(length) / tails[length], rel=1e-5)


def test_units_that_go_round() -> None:
    grammar = Grammar((Rule("S", ("A",), 0.5), Rule("S", (1,), 0.5), Rule("A", ("S",), 0.5), Rule("A", (2,), 0.5)))
    model = exact(grammar)
    assert 2 ** model.log2_sentence([1]) == pytest.approx(2 / 3)
    assert 2 ** model.log2_sentence([2]) == pytest.approx(1 / 3)
    np.testing.assert_allclose(distributions(model, [0])[0], [0, 2 / 3, 1 / 3, 0], atol=1e-6)
    parse = model.parse([2])
    assert parse is not None
    assert parse.tree == Tree("S", (Tree("A", (2,)),))
    assert parse.log2_prob == -2


@pytest.mark.parametrize("symbols", [1, 200])
def test_nothing_underflows(symbols: int) -> None:
    """256 words, each a thousandth: 10⁻⁷⁶⁸ and less, which no float64 holds."""
    rare = [Rule("A", (word,), 1 / 999) for word in range(1, 1000)]
    idle = [Rule(f"I{number}", ("A",)) for number in range(symbols)]
    grammar = Grammar((Rule("S", ("A", "S"), 0.5), Rule("S", ("A",), 0.5), *rare, *idle))
    model = Model.from_grammar(grammar, vocab_size=1000)
    words = (np.arange(256 if symbols == 1 else 40) % 999 + 1).tolist()
    expected = -len(words) * (1 + math.log2(999))
    assert model.log2_sentence(words) == pytest.approx(expected, abs=1e-9)
    assert model.log2_prob([0, *words, 0])[1:].sum() == pytest.approx(expected, abs=0.5)
    assert model.reestimate([words]) == [pytest.approx(expected)]
    weight = {(rule.left, rule.right): rule.weight for rule in model.grammar().rules}
    assert weight["S", ("A", "S")] == pytest.approx(1 - 1 / len(words))


def nltk_grammar(rules: tuple[Rule, ...]) -> Any:
    from nltk import PCFG, Nonterminal
    from nltk.grammar import ProbabilisticProduction

    def part(each: str | int) -> Any:
        return Nonterminal(each) if isinstance(each, str) else str(each)

    return PCFG(
        Nonterminal("S"),
        [ProbabilisticProduction(Nonterminal(rule.left), [part(each) for each in rule.right], prob=rule.weight) for rule in rules],
    )


AMBIGUOUS = Grammar(
    (
        Rule("S", ("NP", "VP"), 0.8),
        Rule("S", ("VP",), 0.2),
        Rule("NP", ("NP", "PP"), 0.3),
        Rule("NP", (1,), 0.5),
        Rule("NP", (2, "NP"), 0.2),
        Rule("VP", ("VP", "PP"), 0.35),
        Rule("VP", (2, "NP", "PP"), 0.25),
        Rule("VP", (2, "NP"), 0.25),
        Rule("VP", (2,), 0.15),
        Rule("PP", (3, "NP"), 1.0),
    )
)


@pytest.mark.parametrize("words", [[1, 2, 1], [1, 2, 1, 3, 1], [2, 1, 3, 1, 3, 1], [1, 3, 1, 2, 1, 3, 2, 1], [2, 2, 2, 1]])
def test_trees_are_those_of_nltk(words: list[int]) -> None:
    """Its inside chart parser lists all trees; its Viterbi parser finds the best."""
    from nltk.parse import InsideChartParser, ViterbiParser

    model, peer = exact(AMBIGUOUS), nltk_grammar(AMBIGUOUS.rules)
    tokens = [str(word) for word in words]
    trees = list(InsideChartParser(peer).parse(tokens))
    assert len({str(tree) for tree in trees}) == len(trees) > 0
    assert 2 ** model.log2_sentence(words) == pytest.approx(math.fsum(tree.prob() for tree in trees))
    parse = model.parse(words)
    (best,) = ViterbiParser(peer).parse(tokens)
    assert parse is not None
    assert 2**parse.log2_prob == pytest.approx(best.prob())
    rules = {
        (str(rule.lhs()), tuple(int(part) if isinstance(part, str) else str(part) for part in rule.rhs())) for rule in best.productions()
    }
    assert set(parse.tree.rules) == rules


# --- learnt from text ---


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=7), min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_a_step_never_makes_text_less_probable(sentences: list[list[int]], symbols: int, seed: int) -> None:
    model = Model(Config(vocab_size=V, symbols=symbols, seed=seed, iterations=0))
    model.fit(sentences)
    found = model.reestimate(sentences, iterations=8)
    assert len(found) == 8
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(found))
    totals = torch.zeros(symbols, dtype=torch.float64).index_add(0, model.rules[:, 0], model.weights)
    torch.testing.assert_close(totals, torch.ones_like(totals))


def test_structure_is_found_that_no_neighbour_shows() -> None:
    """1ⁿ 3 2ⁿ: what a word is depends on one any number of places before it."""
    text = [[1] * n + [3] + [2] * n for n in (1, 1, 1, 1, 2, 2, 3)]
    model = Model(Config(vocab_size=V, symbols=5, iterations=40))
    model.fit([[0, *words, 0] for words in text])
    even, odd, longer = (
        float(model.log2_prob([0, *words, 0])[1:].sum()) for words in ([1, 1, 3, 2, 2], [1, 1, 3, 2], [1] * 5 + [3] + [2] * 5)
    )
    assert even > -3
    assert odd < -10
    assert longer > -10  # longer than any it has seen
    again = Model(model.config)
    again.fit([[0, *words, 0] for words in text])
    assert torch.equal(again.weights, model.weights)  # the same seed


def test_a_grammar_that_was_given_is_bettered_from_where_it_stands(said: list[str]) -> None:
    model = Model.from_grammar(AMBIGUOUS, vocab_size=V, iterations=5)
    model.fit([[0, 1, 2, 1, 0], [0, 1, 2, 0], [0, 3, 3, 0]])
    assert said == ["1 of 3 sentences have no tree and teach the grammar nothing."]
    found = model.grammar()
    assert [(rule.left, rule.right) for rule in found.rules] == [(rule.left, rule.right) for rule in AMBIGUOUS.rules]
    weight = {(rule.left, rule.right): rule.weight for rule in found.rules}
    assert weight["VP", (2,)] == pytest.approx(0.5)
    assert weight["S", ("VP",)] == pytest.approx(0)
    assert weight["PP", (3, "NP")] == 1  # of no sentence


def test_what_is_seen_of_ends_and_empty_sentences_is_learnt() -> None:
    model = Model.from_grammar(Grammar((Rule("S", (1,)),)), vocab_size=V, ends=(0, 3), smoothing=EXACT)
    model.fit([[0, 1, 3, 1, 3, 3, 1, 0]])  # of four sentences one is empty, and what stands first is none
    p = distributions(model, [0, 1])
    np.testing.assert_allclose(p[0], [1 / 5 * 3 / 7, 4 / 5, 0, 1 / 5 * 4 / 7], atol=1e-6)
    np.testing.assert_allclose(p[1], [3 / 7, 0, 0, 4 / 7], atol=1e-6)


def test_without_text_nothing_is_known() -> None:
    model = Model(TINY)
    assert (model.log2_prob([5, 6, 0]) == -4).all()
    assert model.log2_prob([]).shape == (0,)
    assert model.parse([5]) is None
    assert model.log2_sentence([5]) == -math.inf
    assert model.reestimate([[5, 6]]) == []
    for call in (model.grammar, model.sample_tree):
        with pytest.raises(UsageError, match="no rules yet"):
            call()


# --- however it is asked ---


def test_what_has_no_tree_is_as_probable_as_its_words_are_frequent() -> None:
    model = Model.from_grammar(AMBIGUOUS, vocab_size=V, iterations=0)
    model.fit([[0, 1, 2, 1, 0]])
    frequencies = np.array([3, 3, 2, 1]) / 9
    p = distributions(model, [0, 1, 1, 3, 0, 1])
    np.testing.assert_allclose(p[2:4], [frequencies, frequencies], rtol=1e-6)
    np.testing.assert_allclose(p[5], p[1])  # a new sentence knows nothing of it
    assert p[1, 1] == pytest.approx(1e-3 * frequencies[1])
    assert abs(p[1] - frequencies).max() > 0.1


def test_a_sentence_beyond_its_longest_has_no_tree() -> None:
    grammar = Grammar((Rule("S", (1, "S"), 0.5), Rule("S", (1,), 0.5)))
    short, long = exact(grammar, longest=3), exact(grammar)
    p = distributions(short, [0, 1, 1, 1, 1, 1, 0, 1])
    np.testing.assert_allclose(p[:4], distributions(long, [0, 1, 1, 1]))
    np.testing.assert_allclose(p[4:6], 1 / V)
    np.testing.assert_allclose(p[7], p[1])
    assert short.reestimate([[1] * 4]) == []
    with pytest.raises(ValueError, match="at most 3 words"):
        short.parse([1] * 4)
    ids = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 0, 1]])
    cache = Cached(capacity=10, device=ids.device)
    grown = torch.cat([short(piece, cache.step(1)) for piece in torch.split(ids, 1, dim=1)], dim=1)
    torch.testing.assert_close(grown, short(ids, Dense(ids)))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.lists(st.integers(0, 3), min_size=24, max_size=24), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_text_that_grows_is_the_text_at_once(steps: list[int], drawn: list[int], alone: bool) -> None:
    """In pieces of any size, rows whose sentences end at different places; and the ids of a document as they are scored."""
    model = Model.from_grammar(AMBIGUOUS, vocab_size=V, longest=6)
    ids = torch.tensor(drawn).view(1 if alone else 2, -1)
    cache = Cached(capacity=24, device=ids.device)
    sizes = [*steps, ids.shape[1] - sum(steps)] if sum(steps) < ids.shape[1] else [ids.shape[1]]
    grown = [model(piece, cache.step(piece.shape[1])) for piece in torch.split(ids, sizes, dim=1)]
    whole = model(ids, Dense(ids))
    torch.testing.assert_close(torch.cat(grown, dim=1), whole)
    for row, logits in zip(ids, whole, strict=True):
        picked = logits[torch.arange(len(row) - 1), row[1:]].double().numpy()
        np.testing.assert_allclose(picked / math.log(2), model.log2_prob(row.numpy())[1:], rtol=1e-5)


def test_packed_documents_begin_anew() -> None:
    model = exact(AMBIGUOUS)
    ids = torch.tensor([[1, 2, 1, 2, 1]])
    packed = model(ids, Packed(torch.tensor([[0, 0, 1, 1, 1]])))
    expected = [model(piece, Dense(piece)) for piece in (ids[:, :2], ids[:, 2:])]
    torch.testing.assert_close(packed, torch.cat(expected, dim=1))
    assert not torch.equal(packed, model(ids, Dense(ids)))


# --- files ---

TOKENIZER = bytes_tokenizer()
ENGLISH = """
S -> NP VP "." [0.9] | VP "!" [0.1]
NP -> Det N [0.75] | NP " who" VP [0.25]
VP -> " sees" NP [0.5] | " sleeps" [0.5]
Det -> " the" [0.5] | " a" [0.5]
N -> " dog" [0.5] | " cat" [0.5]
"""


def test_a_folder_holds_all_of_it(tmp_path: Path) -> None:
    tokenizer = train_bpe([" the dog who sees a cat sleeps. sleeps!"] * 9, vocab_size=320)
    model = Model.from_grammar(read_grammar(ENGLISH, tokenizer), vocab_size=tokenizer.vocab_size, smoothing=1e-9)
    huggingface.save_folder(tmp_path / "english", model, tokenizer)
    again = huggingface.load_folder(tmp_path / "english")
    assert isinstance(again, Model)
    assert again.config == model.config
    assert write_grammar(again.grammar(), tokenizer) == ENGLISH.lstrip()
    ids = tokenizer.encode(" the dog who sees a cat sleeps.")
    assert again.log2_sentence(ids) == model.log2_sentence(ids) > -math.inf
    parse = again.parse([*ids, tokenizer.end_id])
    assert parse is not None
    assert write_tree(parse.tree, tokenizer) == (
        '(S (NP (NP (Det " the") (N " dog")) " who" (VP " sees" (NP (Det " a") (N " cat")))) (VP " sleeps") .)'
    )
    for seed in range(3):
        said = generate(
            again,
            tokenizer,
            [tokenizer.begin_id],
            max_tokens=100,
            sampling=Sampling(temperature=1.0, top_p=1.0, seed=seed),
            stop_ids=tokenizer.stop_ids,
        )
        assert said.finish_reason == "stop"
        assert again.parse(tokenizer.encode(said.text)) is not None


def test_words_of_several_ids_are_helpers_that_no_one_sees() -> None:
    grammar = read_grammar(ENGLISH, TOKENIZER)
    model = Model.from_grammar(grammar, vocab_size=TOKENIZER.vocab_size)
    assert model.config.symbols >= 40
    assert model.grammar() == grammar
    tree = model.sample_tree(torch.Generator().manual_seed(3))
    assert {label for label, _ in tree.rules} <= set(grammar.symbols)
    assert read_trees(write_tree(tree, TOKENIZER), TOKENIZER) == [tree]
    parse = model.parse(tree.ids)
    assert parse is not None
    assert parse.tree == tree  # this grammar is not ambiguous


def test_chinese_as_the_concept_page_has_it() -> None:
    text = (
        '句 -> 名 谓 "。" [0.8] | 谓 "！" [0.2]\n名 -> "猫" [0.4] | "狗" [0.4] | 谓 "的" 名 [0.2]\n谓 -> "看见" 名 [0.6] | "睡觉" [0.4]\n'
    )
    model = Model.from_grammar(read_grammar(text, TOKENIZER), vocab_size=TOKENIZER.vocab_size)
    assert write_grammar(model.grammar(), TOKENIZER) == text
    parse = model.parse(TOKENIZER.encode("看见猫的狗睡觉。"))
    assert parse is not None
    assert write_tree(parse.tree, TOKENIZER) == "(句 (名 (谓 看见 (名 猫)) 的 (名 狗)) (谓 睡觉) 。)"


def test_chinese_from_trees() -> None:
    trees = read_trees("(句 (名 猫) (谓 (动 看见) (名 狗))) (句 (名 狗) (谓 睡觉))", TOKENIZER)
    model = Model.from_grammar(from_trees(trees), vocab_size=TOKENIZER.vocab_size)
    parse = model.parse(TOKENIZER.encode("狗看见狗"))
    assert parse is not None
    assert write_tree(parse.tree, TOKENIZER) == "(句 (名 狗) (谓 (动 看见) (名 狗)))"
    assert 2**parse.log2_prob == pytest.approx(2 / 3 * 1 / 2 * 2 / 3)


def saved(folder: Path, **changed: Tensor | None) -> Path:
    """A folder with some tensors replaced, or left out."""
    model = Model.from_grammar(AMBIGUOUS, vocab_size=V)
    huggingface.save_folder(folder, model, TOKENIZER)
    tensors = {name: tensor for name, tensor in {**load_file(folder / "model.safetensors"), **changed}.items() if tensor is not None}
    save_file(tensors, folder / "model.safetensors")
    return folder


RULES = Model.from_grammar(AMBIGUOUS, vocab_size=V).rules
WEIGHTS = Model.from_grammar(AMBIGUOUS, vocab_size=V).weights


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", None, "lacks the tensor weights"),
        ("weights", WEIGHTS.float(), "int64 and float64 were expected"),
        ("weights", WEIGHTS[1:], "their shapes are"),
        ("weights", WEIGHTS * 2, "not the probabilities"),
        ("weights", -WEIGHTS, "not the probabilities"),
        ("weights", WEIGHTS * math.nan, "not the probabilities"),
        ("rules", RULES + 100, "rules name what is not"),
        ("rules", RULES - 1, "rules name what is not"),
        ("rules", RULES.clone().index_fill_(0, torch.tensor([3, 4]), 0), "rules hold one twice"),
        ("rules", torch.where(RULES == 0, 1, RULES), "not the probabilities"),
        ("frequencies", torch.zeros(V, dtype=torch.float64), "frequencies must be positive"),
        ("frequencies", torch.ones(V + 1, dtype=torch.float64), "frequencies must be 4 numbers"),
        ("shares", torch.full((1,), math.nan, dtype=torch.float64), "shares must be positive"),
        ("empty", torch.ones((), dtype=torch.float64), "empty must be one float64"),
    ],
)
def test_tensors_that_are_no_grammar_are_refused(tmp_path: Path, name: str, value: Tensor | None, message: str) -> None:
    with pytest.raises(BadFileError, match=message):
        huggingface.load_folder(saved(tmp_path / "model", **{name: value}))


def test_rules_that_never_end_are_refused() -> None:
    model = Model(Config(vocab_size=V, symbols=1))
    state = {**model.state_dict(), "rules": torch.tensor([[0, 0, 0], [0, -1, 1]]), "weights": torch.tensor([1.0, 0.0]).double()}
    with pytest.raises(RuntimeError, match="never come to an end"):
        model.load_state_dict(state)
    assert model.log2_prob([1]) == -2
    hardly = {**state, "weights": torch.tensor([1.0, 1e-17]).double()}
    with pytest.raises(RuntimeError, match="all but never come to an end"):
        model.load_state_dict(hardly)
    with pytest.raises(UsageError, match="all but never come to an end"):
        exact(Grammar((Rule("S", ("S", 1), 1.0), Rule("S", (1,), 1e-17))))


@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": 0},
        {"symbols": 0},
        {"symbols": 10_000},
        {"names": ("S",)},
        {"names": ("A B",), "symbols": 1},
        {"ends": ()},
        {"ends": (64,)},
        {"ends": (1, 1)},
        {"longest": 0},
        {"smoothing": 0.0},
        {"smoothing": 1.0},
        {"smoothing": math.nan},
        {"iterations": -1},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Config(**{"vocab_size": 64, **values})


def test_grammars_that_do_not_fit_are_refused() -> None:
    for word, message in ((0, "The word 0 of S ends a sentence"), (V, "is not in the vocabulary of 4")):
        with pytest.raises(UsageError, match=message):
            Model.from_grammar(Grammar((Rule("S", (word,)),)), vocab_size=V)
    many = tuple(Rule("S", (1, 1 + number // 30, number % 30 + 1, 1), 1 / 900) for number in range(900))
    with pytest.raises(UsageError, match="symbols, those for parts of its longer rules included; 512 are possible"):
        Model.from_grammar(Grammar(many), vocab_size=100)
    with pytest.raises(UsageError, match="at most 128 symbols"):
        Model(Config(vocab_size=V, symbols=129)).fit([[1]])
    with pytest.raises(ValueError, match="no shape has about 10 rules"):
        Config.sized(10, vocab_size=1000, context_length=8)
    endless = exact(Grammar((Rule("S", ("S", "S", "S"), 1 - 1e-9), Rule("S", (1,), 1e-9))), longest=8)
    with pytest.raises(UsageError, match="no sentence of at most 8 words"):
        endless.sample_tree(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("wrong", [[-1], [V], [0.5], [[1, 2]]])
def test_ids_outside_the_vocabulary_are_refused(wrong: list) -> None:
    model = exact(AMBIGUOUS)
    for call in (model.log2_prob, model.parse, model.log2_sentence, lambda ids: model.fit([ids])):
        with pytest.raises(ValueError, match=r"ids must be|a document is"):
            call(wrong)


def test_doctests() -> None:
    results = doctest.testmod(pcfg)
    assert results.attempted
    assert not results.failed
