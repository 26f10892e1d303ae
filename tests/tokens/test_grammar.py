"""Grammars and trees as text: what is written is read as the same, and what cannot be read is named with its line."""

from __future__ import annotations

import doctest

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from llamarium.ground.errors import BadFileError
from llamarium.tokens import grammar as module
from llamarium.tokens.grammar import Grammar, Rule, Tree, from_trees, read_grammar, read_trees, write_grammar, write_tree
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import bytes_tokenizer, train_bpe

TOKENIZER = bytes_tokenizer()
WORDS = train_bpe(["the dog sees a cat. 狗看见猫。"] * 8, vocab_size=300)

ENGLISH = """
# a small English
S -> NP VP "." [0.9] | VP "!" [0.1]
NP -> Det N [0.75] | NP " who" VP [0.25]    # who sees the dog
VP -> " sees" NP [0.5] | ' sleeps' [0.5]
Det -> " the" | " a"
N -> " dog" | " cat"
"""


def b(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


def test_a_grammar_is_read() -> None:
    grammar = read_grammar(ENGLISH, TOKENIZER)
    assert grammar.symbols == ("S", "NP", "VP", "Det", "N")
    assert grammar.start == "S"
    assert grammar.rules[0] == Rule("S", ("NP", "VP", *b(".")), 0.9)
    assert grammar.rules[3] == Rule("NP", ("NP", *b(" who"), "VP"), 0.25)
    assert grammar.rules[-1] == Rule("N", b(" cat"), 0.5)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, WORDS])
def test_what_is_written_is_read_as_the_same(tokenizer: Tokenizer) -> None:
    grammar = read_grammar(ENGLISH, tokenizer)
    text = write_grammar(grammar, tokenizer)
    assert text.splitlines()[0] == 'S -> NP VP "." [0.9] | VP "!" [0.1]'
    assert read_grammar(text, tokenizer) == grammar
    assert write_grammar(read_grammar(text, tokenizer), tokenizer) == text


sides = st.lists(st.one_of(st.sampled_from(["A", "B$", "-LRB-", "NP|VP", "''"]), st.integers(0, TOKENIZER.vocab_size - 1)), min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["A", "B$"]), sides, st.floats(0.01, 1)), max_size=6))
@settings(max_examples=100, deadline=None)
def test_any_grammar_survives_as_text(drawn: list[tuple[str, list[str | int], float]]) -> None:
    """Ids that no text spells, names with odd signs, weights of any kind."""
    rules: dict[tuple[str, tuple[str | int, ...]], float] = {
        (name, (5 + number,)): 0.5 for number, name in enumerate(["A", "B$", "-LRB-", "NP|VP", "''"])
    }
    rules |= {(left, tuple(right)): weight for left, right, weight in drawn}
    totals = {left: sum(weight for (other, _), weight in rules.items() if other == left) for left, _ in rules}
    grammar = Grammar(tuple(Rule(left, right, weight / totals[left]) for (left, right), weight in rules.items()))
    again = read_grammar(write_grammar(grammar, TOKENIZER), TOKENIZER)
    ordered = sorted(grammar.rules, key=lambda rule: grammar.symbols.index(rule.left))
    assert [(rule.left, rule.right) for rule in again.rules] == [(rule.left, rule.right) for rule in ordered]
    assert [rule.weight for rule in again.rules] == pytest.approx([rule.weight for rule in ordered])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no rule"),
        ("# nothing", "there is no rule"),
        ('S -> "a"\nNP "b"', "line 2: a symbol and -> were expected"),
        ('S -> "a" -> "b"', "line 1: -> was not expected here"),
        ("S -> ", "line 1: a right side of S is empty"),
        ('S -> "a" |', "line 1: a right side of S is empty"),
        ('S -> ""', "line 1: a text of no length"),
        ('S -> "a', "line 1: cannot be read from '\"a'"),
        ('S -> "\\x"', "line 1: .* is not escaped as in JSON"),
        ('S -> "a" [x]', "line 1: a weight is a number"),
        ('S -> "a" [-1]', "line 1: a weight is a number"),
        ('S -> "a" [nan]', "line 1: a weight is a number"),
        ('S -> "a" [0.5] "b"', r"line 1: \| was expected after a weight"),
        ('S -> "a" [0.5] | "b"', "line 1: some rules of S have a weight and some have none"),
        ('S -> "a"\n\nS -> "a"', "line 3: this rule of S stands there twice"),
        ('S -> "a" | NP', "line 1: NP has no rule of its own"),
        ('S -> "a" | NP\nNP -> NP "b"', "line 2: NP never comes to an end in words"),
        ('S -> "a" [0]', "line 1: S never comes to an end in words"),
        ("S -> <999>", "line 1: the id 999 is not in the vocabulary of 259"),
    ],
)
def test_a_grammar_that_cannot_be_read_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadFileError, match=message) as caught:
        read_grammar(text, TOKENIZER, name="english.txt")
    assert caught.value.message.startswith("english.txt: ")
    assert caught.value.message.endswith(".")
    assert caught.value.hint


def test_what_is_put_right_is_said(said: list[str]) -> None:
    grammar = read_grammar('S -> "a" [3] | "b" [1]\nX -> Y\nY -> "c"', TOKENIZER, name="small")
    assert [rule.weight for rule in grammar.rules] == [0.75, 0.25, 1, 1]
    assert said == ["small: the weights of S sum to 4 and are divided by that.", "small: no sentence has X, Y."]


def test_a_word_that_the_vocabulary_lacks_is_said() -> None:
    rust = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "狗": 1}, unk_token="[UNK]"))
    words = Tokenizer(rust.to_str())
    assert read_grammar('S -> "狗"', words).rules == (Rule("S", (1,)),)
    with pytest.raises(BadFileError, match="line 1: the vocabulary reads '猫' as"):
        read_grammar('S -> "猫"', words)


def test_rules_that_are_no_grammar_are_refused() -> None:
    for rules, message in (
        ((Rule("S", (1,), 0.5),), "sum to 0.5"),
        ((Rule("a b", (1,)),), "cannot be the name"),
        ((Rule("S", ()),), "is empty"),
        ((Rule("S", (1,), float("nan")),), "a weight is a number"),
    ):
        with pytest.raises(ValueError, match=message):
            Grammar(rules)


# --- trees ---

TREEBANK = """
(S (NP (Det the) (N dog)) (VP (V sees) (NP (Det a) (N cat))))
( (S (NP (Det the)
         (N cat)) (VP sleeps)) )
"""


def test_a_treebank_is_read_and_counted() -> None:
    trees = read_trees(TREEBANK, TOKENIZER, between=" ")
    assert [TOKENIZER.decode(tree.ids) for tree in trees] == ["the dog sees a cat", "the cat sleeps"]
    assert trees[1] == Tree("S", (Tree("NP", (Tree("Det", b("the")), Tree("N", b(" cat")))), Tree("VP", b(" sleeps"))))
    grammar = from_trees(trees)
    weight = {(rule.left, rule.right): rule.weight for rule in grammar.rules}
    assert grammar.start == "S"
    assert weight["S", ("NP", "VP")] == weight["NP", ("Det", "N")] == 1
    assert weight["N", b(" cat")] == 2 / 3
    assert weight["VP", b(" sleeps")] == weight["VP", ("V", "NP")] == 1 / 2


def test_counts_are_those_of_nltk() -> None:
    from nltk import Nonterminal, induce_pcfg
    from nltk import Tree as Other

    lines = ["(S (A a) (B b))", "(S (A a) (A a))", "(S (B c) (S (A d) (B b)))"]
    peer = induce_pcfg(Nonterminal("S"), [rule for line in lines for rule in Other.fromstring(line).productions()])
    expected = {
        (str(rule.lhs()), tuple(b(part)[0] if isinstance(part, str) else str(part) for part in rule.rhs())): rule.prob()
        for rule in peer.productions()
    }
    found = from_trees(read_trees("\n".join(lines), TOKENIZER))
    assert {(rule.left, rule.right): rule.weight for rule in found.rules} == pytest.approx(expected)


def test_trees_with_several_roots_have_one_above() -> None:
    grammar = from_trees(read_trees("(S a) (Q b) (S a)", TOKENIZER))
    assert grammar.rules[:2] == (Rule("TOP", ("S",), 2 / 3), Rule("TOP", ("Q",), 1 / 3))
    with pytest.raises(ValueError, match="no tree"):
        from_trees([])


labels = st.sampled_from(["S", "NP", "-LRB-", "''"])
trees = st.recursive(
    st.builds(Tree, labels, st.tuples(st.integers(0, TOKENIZER.vocab_size - 1))),
    lambda inner: st.builds(
        Tree, labels, st.lists(st.one_of(inner, st.integers(0, TOKENIZER.vocab_size - 1)), min_size=1, max_size=4).map(tuple)
    ),
    max_leaves=12,
)


@given(trees)
@settings(max_examples=200, deadline=None)
def test_any_tree_survives_as_text(tree: Tree) -> None:
    text = write_tree(tree, TOKENIZER)
    assert "\n" not in text
    assert read_trees(text, TOKENIZER) == [tree]


def test_a_tree_is_written_for_people() -> None:
    (tree,) = read_trees('(S (NP dogs) (VP " bark" <0>))', TOKENIZER)
    assert write_tree(tree, TOKENIZER) == '(S (NP dogs) (VP " bark" <0>))'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S a", "ends inside the brackets of S"),
        ("(S a))", r"line 1: '\)' stands outside"),
        ("(S a)\nb", "line 2: 'b' stands outside"),
        ("(S (NP))", "line 1: the brackets of NP are empty"),
        ("(S ((NP a)))", "line 1: brackets have no label"),
        ('("a" b)', "line 1: brackets have no label"),
        ("((S a) (S b))", "line 1: brackets have no label"),
        ("(S <777>)", "line 1: the id 777"),
        ("(S " * 600, "line 1: brackets are nested more than 500 deep"),
    ],
)
def test_a_treebank_that_cannot_be_read_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadFileError, match=message):
        read_trees(text, TOKENIZER, name="bank.txt")


def test_doctests() -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
