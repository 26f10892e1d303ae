"""An answer that is nothing but quotes, or the statement that there is none.

Takes: an open index and a question.
Gives: up to `k` verbatim quotes, each checked against its document just before it is given; none where the documents
hold too little of what is asked.
Does not know: models; how answers are shown.

Passages are found by BM25; in each, runs of up to three sentences are weighed by the share of the question they hold, its
*support*. Whatever is asked about weighs as much as it is rare (inverse document frequency), and twice that where no
document has it: a question about something that the documents never name is not answered by what they say of the rest.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llamarium.apps.ask.index import Found, Index
from llamarium.apps.ask.passages import Span, sentences
from llamarium.apps.ask.words import Question, Wanted, held_in, question_words, terms_of, words
from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.text.document import read

THRESHOLD = 0.5  # of the support: half of what is asked; see the questions in tests/apps/ask
NEVER_NAMED = 2.0
FEWEST_PASSAGES = 50  # a handful does not tell what is rare: where there are fewer, words are weighed as if there were so many
NUM_PASSAGES = 30
MOST_SENTENCES = 3
LONGEST_QUOTE = 500  # characters
LONG_ENOUGH = 350  # a quote does not grow beyond this for context alone
LONGEST_QUESTION = 2_000

# What counts beside support, all small against it: a quote is about its heading, and a little about its passage.
HEADING_CREDIT = 0.8
PASSAGE_CREDIT = 0.3
RANK_SHARE = 0.3
OPENING_SHARE = 0.2  # the first words below a heading that names what is asked: there a thing is defined
SENTENCE_COST = 0.02


@dataclass(frozen=True)
class Citation:
    """``text[start:end] == quote`` in what ``llamarium read`` prints of `document`. `score`: 0 to 1, how well it fits."""

    document: str
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What the documents say to a question.

    `answer`: the quotes, blank lines between; empty where nothing is found. `nearest`: what comes closest where nothing is
    found. `dropped`: documents whose quote did not stand the check, as after a change of the file. `seconds`: the time this
    took, the index being open.
    """

    found: bool
    answer: str
    citations: tuple[Citation, ...]
    seconds: float
    nearest: tuple[Citation, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """The best quote of a passage."""

    passage: Found
    span: Span
    support: float
    score: float


def ask(index: Index, question: str, *, k: int = 3) -> Answer:
    """Answer `question` with at most `k` quotes, the best first. `UsageError` if there is no question in it."""
    begin = time.perf_counter()
    asked = question_words(question[:LONGEST_QUESTION])
    if not asked.wanted:
        raise UsageError("The question is empty." if not question.strip() else "The question has no words in it.")
    weights = _weights(index, asked)
    passages = index.search(asked, limit=NUM_PASSAGES)
    texts = {document: index.text(document) for document in dict.fromkeys(passage.document for passage in passages)}
    candidates = [c for passage in passages if (c := _best_quote(texts[passage.document], passage, weights, passages[0].rank))]
    candidates.sort(key=lambda candidate: -candidate.score)  # stable: what ranks higher stays first among equals
    supported = [candidate for candidate in candidates if candidate.support >= THRESHOLD]
    kept: list[Citation] = []
    dropped: list[str] = []
    for candidate in _different(supported or candidates, texts):
        citation = _cite(candidate, texts[candidate.passage.document])
        if verified(index, candidate.passage.document, citation):
            kept.append(citation)
        else:
            dropped.append(citation.document)
        if len(kept) == k:
            break
    found = bool(supported and kept)
    return Answer(
        found=found,
        answer="\n\n".join(citation.quote for citation in kept) if found else "",
        citations=tuple(kept) if found else (),
        seconds=time.perf_counter() - begin,
        nearest=() if found else tuple(kept),
        dropped=tuple(dict.fromkeys(dropped)),
    )


def verified(index: Index, document: int, citation: Citation) -> bool:
    """Whether the quote stands at its place in the document.

    That is in the text of the index, read once more and checked by its SHA-256, and, where the file has changed since, in
    what the file holds now. A file that is gone is taken as the index has it.
    """
    text = index.text(document)
    source = index.source(document)
    if text[citation.start : citation.end] != citation.quote or hashlib.sha256(text.encode()).hexdigest() != source.sha256:
        return False
    try:
        state = source.file.stat()
    except (OSError, ValueError):
        return True
    if (state.st_size, state.st_mtime_ns) == (source.size, source.modified):
        return True
    try:
        return read(source.file).text[citation.start : citation.end] == citation.quote
    except (BadFileError, NotFoundError):
        return False


def highlights(quote: str, question: str) -> list[Span]:
    """The parts of `quote` that the question asks about, in order and apart from each other.

    >>> highlights("The with statement wraps a block.", "What does a block wrap?")
    [(19, 24), (27, 32)]
    """
    asked = question_words(question)
    spans: list[Span] = []
    for word in words(quote):
        if held_in(asked.wanted, set(word.terms)):
            if spans and word.start <= spans[-1][1]:  # pairs of Chinese characters overlap
                spans[-1] = (spans[-1][0], word.end)
            else:
                spans.append((word.start, word.end))
    return spans


def _weights(index: Index, asked: Question) -> dict[Wanted, float]:
    """How much each thing that is asked about counts."""
    frequencies: dict[Wanted, int] = {}

    def frequency(wanted: Wanted) -> int:
        if wanted not in frequencies:
            frequencies[wanted] = max(index.num_passages_with(term, beginning=False) for term in wanted.terms)
        return frequencies[wanted]

    weights = {}
    for wanted in asked.wanted:
        if wanted.character and not frequency(wanted):
            # 做 in 做豆腐: its pair is no word, and the characters around it belong to words that are known. Then it is one by itself.
            neighbours = [other for other in asked.wanted if other != wanted and not set(other.terms).isdisjoint(wanted.terms)]
            if all(map(frequency, neighbours)):
                wanted = Wanted((wanted.character,), character=wanted.character)
        num = frequency(wanted)
        rarity = math.log(1 + (max(index.num_passages, FEWEST_PASSAGES) - num + 0.5) / (num + 0.5))
        # A Chinese word has two characters, and each of them is asked for.
        weights[wanted] = rarity * (1.0 if num else NEVER_NAMED) * (0.5 if wanted.character else 1.0)
    return weights


def _best_quote(text: str, passage: Found, weights: Mapping[Wanted, float], best_rank: float) -> _Candidate | None:
    """The run of sentences in `passage` that holds most of the question; None where only its headings hold any."""
    total = sum(weights.values())

    def share(held: Iterable[Wanted]) -> float:
        return sum(weights[wanted] for wanted in held) / total

    spans = sentences(text, passage.body, passage.end)
    held = [held_in(weights, terms_of(text[start:end])) for start, end in spans]
    anywhere = set().union(*held)
    above = held_in(weights, terms_of(f"{passage.title}\n{passage.heading}\n{passage.path}"))
    own_heading = held_in(weights, terms_of(passage.heading.split(" / ")[-1])) if passage.body > passage.start else set()
    best: _Candidate | None = None
    for first, last in _runs(spans):
        inside = set().union(*held[first : last + 1])
        opens = first == 0 and bool(own_heading)  # what stands right below a heading often does not repeat its words
        if not inside and not opens:
            continue
        support = share(inside) + HEADING_CREDIT * share(above - inside) + PASSAGE_CREDIT * share(anywhere - above - inside)
        score = support + RANK_SHARE * passage.rank / best_rank - SENTENCE_COST * (last - first)
        score += OPENING_SHARE * share(own_heading) if opens else 0.0
        score = max(score, 0.0) / (1 + RANK_SHARE + OPENING_SHARE)
        if best is None or score > best.score:
            best = _Candidate(passage, _with_context(text, spans, first, last), support, score)
    return best


def _runs(spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """First and last of every run of sentences that is short enough to be a quote."""
    for first in range(len(spans)):
        for last in range(first, min(first + MOST_SENTENCES, len(spans))):
            if last == first or spans[last][1] - spans[first][0] <= LONGEST_QUOTE:
                yield first, last


def _with_context(text: str, spans: Sequence[Span], first: int, last: int) -> Span:
    """Back to where a sentence begins that the quote is the end of, and on to what follows, as an answer often does."""
    while first > 0 and _goes_on(text, spans[first - 1], spans[first]) and spans[last][1] - spans[first - 1][0] <= LONGEST_QUOTE:
        first -= 1
    while last + 1 < len(spans) and spans[last + 1][1] - spans[first][0] <= LONG_ENOUGH:
        if last - first + 1 >= MOST_SENTENCES and not _goes_on(text, spans[last], spans[last + 1]):
            break
        last += 1
    return spans[first][0], spans[last][1]


def _goes_on(text: str, span: Span, following: Span) -> bool:
    end = text[span[1] - 1]
    return end in ":：" or (text[following[0]].islower() and end not in ".!?。！？")


def _different(candidates: Iterable[_Candidate], texts: Mapping[int, str]) -> Iterator[_Candidate]:
    """Those that do not repeat an earlier one: documents quote each other, and copies stand in several places."""
    seen: list[str] = []
    for candidate in candidates:
        words_only = " ".join(texts[candidate.passage.document][slice(*candidate.span)].split())
        if not any(words_only in other or other in words_only for other in seen):
            seen.append(words_only)
            yield candidate


def _cite(candidate: _Candidate, text: str) -> Citation:
    start, end = candidate.span
    return Citation(candidate.passage.path, start, end, text[start:end], round(candidate.score, 4))
