"""Grammars with probabilities as text, and trees in brackets.

Takes: the text of a grammar or of a treebank, and a tokenizer.
Gives: `Grammar`, rules over symbols and ids of the vocabulary, and `Tree`; a grammar counted from trees; the same as text again.
Does not know: how probable a sentence is, files.

A line of a grammar is a left side and its right sides, each with its probability: ``NP -> Det N [0.7] | "dogs" [0.3]``. The left side of
the first line is the start. What stands in double quotes is text of a sentence, its spaces included, escaped as in JSON; in single quotes
nothing is escaped; ``<17>`` is the id 17, for what no text spells; ``{...}`` is a symbol whose name has signs such as | in it.
``#`` begins a comment.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llamarium.ground import progress
from llamarium.ground.errors import BadFileError
from llamarium.tokens.tokenizer import Tokenizer

Part = TypeVar("Part")

SUM_TO_ONE = 1e-9  # probabilities of a left side that are nearer to 1 than this are left as they are
MAX_DEPTH = 500  # of a tree that is read

_PLAIN = r"""(?:(?!->)[^\s|\[\]"'#<>(){}])+"""
_TOKEN = re.compile(
    rf"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'[^']*')|(?P<arrow>->)|(?P<bar>\|)|\[\s*(?P<weight>[^\]\s]*)\s*\]|<(?P<id>\d{{1,9}})>
    |(?P<comment>\#.*)|\{{(?P<odd>[^\s{{}}]+)\}}|(?P<symbol>{_PLAIN}))""",
    re.VERBOSE,
)
_BRACKET = re.compile(r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<text>"(?:[^"\\]|\\.)*")|<(?P<id>\d{1,9})>(?=[\s()])|(?P<word>[^\s()]+))""")


@dataclass(frozen=True)
class Rule:
    """`left` becomes `right`, symbols by name and words by id, with probability `weight`."""

    left: str
    right: tuple[str | int, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Grammar:
    """Rules; the left side of the first is the start. `ValueError` where they are no grammar.

    >>> grammar = Grammar((Rule("S", ("S", "S"), 0.25), Rule("S", (7,), 0.75)))
    >>> grammar.start, grammar.symbols
    ('S', ('S',))
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        for _, message in _faults(self.rules):
            raise ValueError(message)
        for left, total in _totals(self.rules).items():
            if abs(total - 1) > 1e-6:
                raise ValueError(f"the probabilities of {left} sum to {total:g}")

    @property
    def start(self) -> str:
        """The symbol that a sentence begins as."""
        return self.rules[0].left

    @property
    def symbols(self) -> tuple[str, ...]:
        """Left sides in the order of the rules, the start first."""
        return tuple(dict.fromkeys(rule.left for rule in self.rules))

    @property
    def unreachable(self) -> tuple[str, ...]:
        """Symbols that no sentence has."""
        found, todo = {self.start}, [self.start]
        while todo:
            left = todo.pop()
            new = {part for rule in self.rules if rule.left == left for part in rule.right if isinstance(part, str)} - found
            found |= new
            todo += new
        return tuple(symbol for symbol in self.symbols if symbol not in found)


@dataclass(frozen=True)
class Tree:
    """A symbol and what it became: trees, and ids of the vocabulary."""

    label: str
    children: tuple[Tree | int, ...]

    @property
    def ids(self) -> list[int]:
        """The sentence."""
        found: list[int] = []
        todo: list[Tree | int] = [self]
        while todo:
            part = todo.pop()
            if isinstance(part, int):
                found.append(part)
            else:
                todo += reversed(part.children)
        return found

    @property
    def rules(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Left and right side of each rule that it uses, from the top and from the left."""
        todo = [self]
        while todo:
            tree = todo.pop()
            yield tree.label, tuple(part if isinstance(part, int) else part.label for part in tree.children)
            todo += [part for part in reversed(tree.children) if isinstance(part, Tree)]


def from_trees(trees: Iterable[Tree]) -> Grammar:
    """The grammar of a treebank: each rule as probable as it is frequent among those of its left side (Charniak 1996).

    Where the trees have several roots, ``TOP`` becomes each of them as often as it is one. `ValueError` where there is no tree.
    """
    trees = list(trees)
    if not trees:
        raise ValueError("there is no tree to count")
    roots = Counter(tree.label for tree in trees)
    counts = Counter(rule for tree in trees for rule in tree.rules)
    if len(roots) > 1:
        tops: list[tuple[str, tuple[str | int, ...], float]] = [("TOP", (root,), count) for root, count in roots.items()]
    else:
        tops = []
    # The start's rules come first, and those of each left side stand together.
    order = dict.fromkeys([trees[0].label, *(left for left, _ in counts)])
    counted: list[tuple[str, tuple[str | int, ...], float]] = [
        (left, right, count) for name in order for (left, right), count in counts.items() if left == name
    ]
    return Grammar(_normalized([Rule(*values) for values in (*tops, *counted)]))


# --- grammars as text ---


def read_grammar(text: str, tokenizer: Tokenizer, *, name: str = "grammar") -> Grammar:
    """The grammar that `text` writes; `BadFileError` names `name` and the line.

    Weights of a left side that do not sum to 1 are divided by their sum; where none is given, all are equal. Both, and symbols
    that no sentence has, are said.
    """
    rules: list[Rule] = []
    lines: list[int] = []
    weighted: dict[str, bool] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            for left, right, weight in _alternatives(line, tokenizer):
                if weighted.setdefault(left, weight is not None) != (weight is not None):
                    raise ValueError(f"some rules of {left} have a weight and some have none")
                rules.append(Rule(left, right, 1.0 if weight is None else weight))
                lines.append(number)
        except ValueError as error:
            raise BadFileError(name, f"line {number}: {error}.", hint=_HINT) from None
    for place, message in _faults(rules):
        where = f"line {lines[place]}: " if place < len(lines) else ""
        raise BadFileError(name, f"{where}{message}.", hint=_HINT)
    for left, total in _totals(rules).items():
        if weighted[left] and abs(total - 1) > SUM_TO_ONE:
            progress.say(f"{name}: the weights of {left} sum to {total:g} and are divided by that.")
    grammar = Grammar(_normalized(rules))
    if grammar.unreachable:
        progress.say(f"{name}: no sentence has {', '.join(grammar.unreachable)}.")
    return grammar


def write_grammar(grammar: Grammar, tokenizer: Tokenizer) -> str:
    """The text that `read_grammar` reads as `grammar`, a line for each left side, weights to twelve digits."""
    sides: dict[str, list[str]] = {symbol: [] for symbol in grammar.symbols}
    for rule in grammar.rules:
        parts = [_spelled(part, tokenizer) if isinstance(part, list) else _named(part) for part in _runs(rule.right)]
        sides[rule.left].append(f"{' '.join(parts)} [{rule.weight:.12g}]")
    return "".join(f"{_named(left)} -> {' | '.join(rights)}\n" for left, rights in sides.items())


_HINT = 'A line reads: NP -> Det N [0.7] | "dogs" [0.3]'


def _alternatives(line: str, tokenizer: Tokenizer) -> Iterator[tuple[str, tuple[str | int, ...], float | None]]:
    """Left side, right side and weight of each rule in a line."""
    tokens: list[tuple[str, str]] = []
    place, line = 0, line.rstrip()
    while place < len(line):
        match = _TOKEN.match(line, place)
        if match is None:
            raise ValueError(f"cannot be read from {line[place:].strip()[:20]!r} on")
        kind = str(match.lastgroup)
        if kind != "comment":
            tokens.append(("symbol" if kind == "odd" else kind, match[kind]))
        place = match.end()
    if not tokens:
        return
    if [kind for kind, _ in tokens[:2]] != ["symbol", "arrow"]:
        raise ValueError("a symbol and -> were expected at its beginning")
    left = tokens[0][1]
    right: list[str | int] = []
    weight: float | None = None
    for kind, content in [*tokens[2:], ("bar", "")]:
        if kind == "bar":
            if not right:
                raise ValueError(f"a right side of {left} is empty, and no rule may make nothing")
            yield left, tuple(right), weight
            right, weight = [], None
        elif weight is not None:
            raise ValueError("| was expected after a weight")
        elif kind == "weight":
            weight = _weight(content)
        elif kind == "symbol":
            right.append(content)
        elif kind == "id":
            right.append(_checked(int(content), tokenizer))
        elif kind == "text":
            right += _ids(_unquoted(content), tokenizer)
        else:
            raise ValueError("-> was not expected here")


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not (weight >= 0 and math.isfinite(weight)):
        raise ValueError(f"a weight is a number that is not negative, not {text!r}")
    return weight


def _checked(number: int, tokenizer: Tokenizer) -> int:
    if number >= tokenizer.vocab_size:
        raise ValueError(f"the id {number} is not in the vocabulary of {tokenizer.vocab_size:,}")
    return number


def _ids(text: str, tokenizer: Tokenizer) -> list[int]:
    ids = tokenizer.encode(text)
    if not ids:
        raise ValueError("a text of no length makes nothing")
    if (read := tokenizer.decode(ids)) != text:
        raise ValueError(f"the vocabulary reads {text!r} as {read!r}")
    return ids


def _unquoted(text: str) -> str:
    if text[0] == "'":
        return text[1:-1]
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise ValueError(f"{text} is not escaped as in JSON") from None


def _runs(parts: Iterable[Part | int]) -> Iterator[Part | list[int]]:
    """`parts` with ids that stand side by side brought together."""
    for is_id, group in itertools.groupby(parts, lambda part: isinstance(part, int)):
        if is_id:
            yield [part for part in group if isinstance(part, int)]
        else:
            yield from (part for part in group if not isinstance(part, int))


def _spelled(ids: list[int], tokenizer: Tokenizer, *, bare: bool = False) -> str:
    """What is read as just these ids: texts as long as can be, numbers for the others; `bare` leaves quotes out where it can."""
    parts = []
    while ids:
        for end in range(len(ids), 0, -1):
            text = tokenizer.decode(ids[:end])
            if text and tokenizer.encode(text) == ids[:end]:
                parts.append(text if bare and re.fullmatch(r"[^\s()<>\"]+", text) else json.dumps(text, ensure_ascii=False))
                break
        else:
            parts.append(f"<{ids[0]}>")
        ids = ids[end:]
    return " ".join(parts)


def _named(symbol: str) -> str:
    return symbol if re.fullmatch(_PLAIN, symbol) else f"{{{symbol}}}"


def _faults(rules: Sequence[Rule]) -> Iterator[tuple[int, str]]:
    """What is wrong with rules, with the number of the first that it is wrong with."""
    if not rules:
        yield 0, "there is no rule"
        return
    lefts = {rule.left for rule in rules}
    seen: set[tuple[str, tuple[str | int, ...]]] = set()
    for number, rule in enumerate(rules):
        if re.search(r"[\s(){}<>]", rule.left) or not rule.left:
            yield number, f"{rule.left!r} cannot be the name of a symbol"
        if not rule.right:
            yield number, f"a right side of {rule.left} is empty, and no rule may make nothing"
        if not (rule.weight >= 0 and math.isfinite(rule.weight)):
            yield number, f"a weight is a number that is not negative, not {rule.weight}"
        for part in rule.right:
            if isinstance(part, str) and part not in lefts:
                yield number, f"{part} has no rule of its own"
        if (rule.left, rule.right) in seen:
            yield number, f"this rule of {rule.left} stands there twice"
        seen.add((rule.left, rule.right))
    finite: set[str] = set()
    while new := {
        rule.left
        for rule in rules
        if rule.weight > 0 and rule.left not in finite and all(isinstance(part, int) or part in finite for part in rule.right)
    }:
        finite |= new
    for number, rule in enumerate(rules):
        if rule.left not in finite:
            yield number, f"{rule.left} never comes to an end in words"


def _totals(rules: Sequence[Rule]) -> dict[str, float]:
    sides: dict[str, list[float]] = {}
    for rule in rules:
        sides.setdefault(rule.left, []).append(rule.weight)
    return {left: math.fsum(weights) for left, weights in sides.items()}


def _normalized(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    totals = {left: 1.0 if abs(total - 1) <= SUM_TO_ONE else total for left, total in _totals(rules).items()}
    return tuple(Rule(rule.left, rule.right, rule.weight / totals[rule.left]) for rule in rules)


# --- trees as text ---


def read_trees(text: str, tokenizer: Tokenizer, *, between: str = "", name: str = "treebank") -> list[Tree]:
    """The trees of a treebank, such as ``(S (NP dogs) (VP bark))``; `BadFileError` names `name` and the line.

    `between` is what stands between the words of a sentence: a space in English, nothing in Chinese. A word in double quotes is
    text as it stands, its spaces included. A pair of brackets without a label around a whole tree is left out.
    """
    trees: list[Tree] = []
    open_: list[tuple[str, list[Tree | int]]] = []  # label and children of the brackets that are open
    words = place = 0
    while match := _BRACKET.match(text, place):
        kind, place = str(match.lastgroup), match.end()
        try:
            if kind == "open":
                if len(open_) >= MAX_DEPTH:
                    raise ValueError(f"brackets are nested more than {MAX_DEPTH} deep")
                words = words if open_ else 0
                open_.append(("", []))
            elif not open_:
                raise ValueError(f"{match[0].strip()[:20]!r} stands outside of any brackets")
            elif kind == "close":
                tree = _closed(*open_.pop(), outermost=not open_)
                (open_[-1][1] if open_ else trees).append(tree)
            elif kind == "word" and open_[-1] == ("", []):
                open_[-1] = (match["word"], [])
            elif not open_[-1][0]:
                raise ValueError("brackets have no label")
            elif kind == "id":
                open_[-1][1].append(_checked(int(match["id"]), tokenizer))
            else:
                plain = (between if words else "") + match[kind]
                open_[-1][1].extend(_ids(plain if kind == "word" else _unquoted(match["text"]), tokenizer))
                words += 1
        except ValueError as error:
            line = text.count("\n", 0, place) + 1
            raise BadFileError(name, f"line {line}: {error}.", hint="A tree reads: (S (NP dogs) (VP bark))") from None
    if open_:
        raise BadFileError(name, f"ends inside the brackets of {open_[0][0] or 'a tree'}.")
    return trees


def write_tree(tree: Tree, tokenizer: Tokenizer) -> str:
    """`tree` in brackets on one line; `read_trees` reads it as the same tree."""
    parts: list[str] = []
    todo: list[Tree | str] = [tree]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            parts.append(part)
            continue
        parts.append(f" ({part.label}")
        inside = [f" {_spelled(each, tokenizer, bare=True)}" if isinstance(each, list) else each for each in _runs(part.children)]
        todo += [")", *reversed(inside)]
    return "".join(parts).strip()


def _closed(label: str, children: list[Tree | int], *, outermost: bool) -> Tree:
    if not children:
        raise ValueError(f"the brackets of {label or 'a symbol without a name'} are empty")
    if label:
        return Tree(label, tuple(children))
    if outermost and len(children) == 1 and isinstance(children[0], Tree):
        return children[0]
    raise ValueError("brackets have no label")
