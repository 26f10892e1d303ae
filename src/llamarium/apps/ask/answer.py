"""An answer that is nothing but quotes, or the statement that there is none.

Takes: an open index and a question; perhaps vectors, a model that judges passages, synonyms of one's own.
Gives: an answer of at most two sentences, and up to `k` verbatim quotes, each checked against its document just before it is
given; none where the documents hold too little of what is asked.
Does not know: models; how answers are shown.

Every sentence of the likeliest passages is weighed by a few plain features (`Features`), and the best one, with the one after it
where that is short enough, is the answer. What counts most is not what a sentence repeats of the question, but what it holds of it
beyond the subject that its passage opens with: in a text about the llama, "llama" tells no sentence from another. The weights are
those of a conditional logit, and whether there is an answer at all is decided by a logistic regression (threshold.py); both were
fitted by ``python -m bench ask_quality --fit``, on half of the questions, and measured on the other.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from llamarium.apps.ask import threshold
from llamarium.apps.ask.cues import asked_for, has
from llamarium.apps.ask.index import Found, Index
from llamarium.apps.ask.passages import Span, sentences
from llamarium.apps.ask.retrieve import Judges, SearchesVectors, Weights, diverse, retrieve, weigh
from llamarium.apps.ask.synonyms import Synonyms, built_in
from llamarium.apps.ask.words import Wanted, held_in, is_dense, question_words, terms_of, words
from llamarium.ground.errors import BadFileError, NotFoundError, UsageError
from llamarium.text.document import read

NUM_PASSAGES = 16  # whose sentences are looked at
LONGEST_ANSWER = {"dense": 120, "spaced": 360}  # characters: Chinese; or about 60 words
LONGEST_QUOTE = 500
NUM_SAMPLES = 8
LONGEST_QUESTION = 2_000

_CLAUSE = re.compile(r"[，；：、]|[,;:](?=\s)")

FEWEST_ASKED = 3  # things: of fewer, all that is asked may be there and yet count for little


@dataclass(frozen=True)
class Features:
    """What is known of a sentence, all between 0 and 1.

    `covered`: the share of the question that it has, what its headings and the opening sentence of its passage have being granted;
    `beyond`: the share of what is asked about beyond this subject; `singled_out`: the share of the question weighed by how few
    sentences of the passage have it; `rank`: its passage's rank relative to the best; `cue`: whether it has the kind of thing that is
    asked for; `opens`: whether it opens its passage; `defines`: whether it does so where a definition is asked for; `heading`: the
    share of the question that the heading right above it has, where it opens; `around`: the share that it and the sentence after it
    have together.
    """

    covered: float
    beyond: float
    singled_out: float
    rank: float
    cue: float
    opens: float
    defines: float
    heading: float
    around: float

    @property
    def score(self) -> float:
        """0 to 1, how likely this is to be the sentence: a weighted mean."""
        return float(sum(weight * sign for weight, sign in zip(WEIGHTS, astuple(self), strict=True))) / sum(WEIGHTS)


WEIGHTS = (3.08, 3.43, 1.02, 4.25, 1.24, 1.32, 0.66, 3.35, 2.28)  # in the order of the fields


@dataclass(frozen=True)
class Citation:
    """``text[start:end] == quote`` in what ``llamarium read`` prints of `document`. `score`: 0 to 1, how likely it is to answer."""

    document: str
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What the documents say to a question.

    `answer`: at most two sentences, with which the first quote begins; empty where nothing is found. `citations`: where it stands,
    then what else fits. `nearest`: what comes closest where nothing is found. `dropped`: documents whose quote did not stand the
    check, as after a change of the file. `passages`: the whole passages that the quotes are from, for a model to read.
    `confidence`: 0 to 1, how likely there is an answer. `other_script`: whether nothing was found by a question in Chinese of
    documents in English, or the other way round. `seconds`: the time this took, the index being open.
    """

    found: bool
    answer: str
    citations: tuple[Citation, ...]
    seconds: float
    nearest: tuple[Citation, ...] = ()
    dropped: tuple[str, ...] = ()
    passages: tuple[Citation, ...] = ()
    confidence: float = 0.0
    other_script: bool = False

    @property
    def sure(self) -> bool:
        """Whether what was found is likely to be the answer, not only what comes closest to it."""
        return self.found and self.confidence >= threshold.SURE


@dataclass(frozen=True)
class _Candidate:
    """The best quote of a passage."""

    passage: Found
    span: Span  # what answers
    quote: Span  # which begins there, and may go on
    score: float


def ask(
    index: Index,
    question: str,
    *,
    k: int = 3,
    synonyms: Synonyms | None = None,
    vectors: SearchesVectors | None = None,
    judge: Judges | None = None,
    documents: Collection[int] | None = None,
) -> Answer:
    """Answer `question` with at most `k` quotes, the best first. `UsageError` if there is no question in it.

    `synonyms`: other words for what is asked, else the built-in ones; `vectors`, `judge` and `documents` see `retrieve`.
    """
    begin = time.perf_counter()
    question = question[:LONGEST_QUESTION]
    asked = question_words(question)
    if not asked.wanted:
        raise UsageError("The question is empty." if not question.strip() else "The question has no words in it.")
    asked = (synonyms or built_in()).expand(asked, question)
    weights = weigh(index, asked)
    passages = retrieve(index, asked, question, weights=weights, vectors=vectors, judge=judge, documents=documents)[:NUM_PASSAGES]
    texts = {document: index.text(document) for document in dict.fromkeys(passage.document for passage in passages)}
    weighed = weigh_sentences(passages, texts, question, weights)
    confidence = threshold.confidence(signs_of(weighed, passages, texts, weights)) if weighed else 0.0
    kept: list[Citation] = []
    around: list[Citation] = []
    dropped: list[str] = []
    answer = ""
    for candidate in _different(_best_of_each(weighed, texts, weights), texts):
        text = texts[candidate.passage.document]
        citation = _cite(candidate, text)
        if verified(index, candidate.passage.document, citation):
            answer = answer or text[slice(*candidate.span)]
            kept.append(citation)
            passage = candidate.passage
            around.append(Citation(passage.path, passage.start, passage.end, text[passage.start : passage.end], citation.score))
        else:
            dropped.append(citation.document)
        if len(kept) == k:
            break
    if kept:  # the first score is how likely there is an answer; the others stand to it as before
        best = max(kept[0].score, 1e-9)
        kept = [replace(citation, score=round(confidence * min(1.0, citation.score / best), 4)) for citation in kept]
    found = bool(kept) and confidence >= threshold.THRESHOLD
    return Answer(
        found=found,
        answer=answer if found else "",
        citations=tuple(kept) if found else (),
        seconds=time.perf_counter() - begin,
        nearest=() if found else tuple(kept),
        dropped=tuple(dict.fromkeys(dropped)),
        passages=tuple(around) if found else (),
        confidence=confidence,
        other_script=not found and _is_dense(question) != _is_dense(_sample(index, kept)),
    )


def _sample(index: Index, nearest: Sequence[Citation]) -> str:
    """What the documents are written in: the nearest quotes, or where there is none the beginnings of some documents."""
    if nearest:
        return " ".join(citation.quote for citation in nearest)
    return " ".join(index.text(document.number)[:LONGEST_QUOTE] for document in index.documents()[:NUM_SAMPLES])


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


@dataclass(frozen=True)
class Sentence:
    """A sentence of a passage and what is known of it."""

    passage: Found
    span: Span
    features: Features


def weigh_sentences(passages: Sequence[Found], texts: Mapping[int, str], question: str, weights: Weights) -> list[Sentence]:
    """All sentences of `passages`, the best first."""
    kinds = asked_for(question)
    highest = max((passage.rank for passage in passages), default=0.0) or 1.0
    found: list[Sentence] = []
    for passage in passages:
        text = texts[passage.document]
        spans = quotable(text, passage.body, passage.end)
        held = [terms_of(text[start:end]) for start, end in spans]
        credits = {wanted: [weights.credit(wanted, terms) for terms in held] for wanted in weights.rarity}
        above = terms_of(f"{passage.title}\n{passage.heading}\n{passage.path}")
        own_heading = terms_of(passage.heading.split(" / ")[-1]) if passage.body > passage.start else set()
        subject = above | held[0] if held else above
        beyond = {wanted: weight for wanted, weight in weights.rarity.items() if subject.isdisjoint(wanted.terms)}
        # As inverse document frequency, with the sentences of this passage for documents.
        local = {w: weights.rarity[w] * math.log(1 + len(spans) / num) for w, of in credits.items() if (num := sum(map(bool, of)))}
        heading = _share(dict.fromkeys(held_in(weights.rarity, own_heading), 1.0), weights.rarity)
        for number, span in enumerate(spans):
            credit = {wanted: of[number] for wanted, of in credits.items()}
            features = Features(
                covered=_share({wanted: max(credit[wanted], float(wanted not in beyond)) for wanted in credit}, weights.rarity),
                beyond=_share(credit, beyond) if beyond else 1.0,
                singled_out=_share(credit, local),
                rank=max(passage.rank / highest, 0.0),
                cue=has(kinds, text[slice(*span)]),
                opens=float(number == 0),
                defines=float(number == 0 and "definition" in kinds),
                heading=heading if number == 0 else 0.0,
                around=_share({wanted: max(of[number : number + 2]) for wanted, of in credits.items()}, weights.rarity),
            )
            found.append(Sentence(passage, span, features))
    found.sort(key=lambda sentence: -sentence.features.score)  # stable: what ranks higher stays first among equals
    return found


def _share(credit: Mapping[Wanted, float], of: Mapping[Wanted, float]) -> float:
    total = sum(of.values())
    return sum(weight * credit.get(wanted, 0.0) for wanted, weight in of.items()) / total if total else 0.0


def quotable(text: str, start: int, end: int) -> list[Span]:
    """The sentences of ``text[start:end]``, each short enough to be an answer; what ends in a semicolon stays with what follows.

    >>> text = "平日开放；周三休息。"
    >>> quotable(text, 0, len(text))
    [(0, 10)]
    """
    found: list[Span] = []
    for first, last in sentences(text, start, end):
        if found and _goes_on(text, found[-1], first) and _fits(text, found[-1][0], last):
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def _goes_on(text: str, span: Span, following: int) -> bool:
    """Whether what begins at `following` belongs to the sentence before: code after a colon, and what is said after the code."""
    end = text[span[1] - 1]
    return end in ":：;；" or (text[following].islower() and end not in ".!?。！？")


def _fits(text: str, start: int, end: int) -> bool:
    return end - start <= LONGEST_ANSWER["dense" if _is_dense(text[start:end]) else "spaced"]


def _is_dense(text: str) -> bool:
    """Whether a text is mainly in a script without spaces: a quarter of its characters are."""
    return not text.isascii() and sum(map(is_dense, text)) * 4 > len(text)


def signs_of(weighed: Sequence[Sentence], passages: Sequence[Found], texts: Mapping[int, str], weights: Weights) -> threshold.Signs:
    """What tells whether the best of the sentences is an answer."""
    best = weighed[0]
    passage = best.passage
    around = terms_of(f"{passage.title}\n{passage.heading}\n{passage.path}\n{texts[passage.document][passage.body : passage.end]}")
    credit = {wanted: weights.credit(wanted, around) for wanted in weights.rarity}
    others = [other.rank for other in passages if other.document != passage.document]
    return threshold.Signs(
        passage=_share(credit, weights.rarity),
        gap=max(0.0, 1 - max(others, default=0.0) / passage.rank) if passage.rank > 0 else 0.0,
        words=math.log(max(len(weights.rarity), FEWEST_ASKED)),
        dense=sum(bool(wanted.character) for wanted in weights.rarity) / len(weights.rarity),
    )


def _best_of_each(weighed: Iterable[Sentence], texts: Mapping[int, str], weights: Weights) -> list[_Candidate]:
    """The best sentence of each passage, with the one that follows it where both are short enough: the best, then a variety."""
    best: dict[tuple[int, int], Sentence] = {}
    for sentence in weighed:
        best.setdefault((sentence.passage.document, sentence.passage.start), sentence)
    candidates = [
        _Candidate(sentence.passage, span, _quote_span(text, span, sentence.passage.end), sentence.features.score)
        for sentence in best.values()
        for text in [texts[sentence.passage.document]]
        for span in [_answer_span(text, sentence, weights)]
    ]
    held = [terms_of(texts[candidate.passage.document][slice(*candidate.quote)]) for candidate in candidates]

    def alike(one: int, other: int) -> float:
        return len(held[one] & held[other]) / max(min(len(held[one]), len(held[other])), 1)

    return [candidates[number] for number in diverse([candidate.score for candidate in candidates], alike, k=len(candidates))]


def _answer_span(text: str, sentence: Sentence, weights: Weights) -> Span:
    """The sentence with the one that follows it, if both are short enough; of a sentence that is too long, the clauses that hold most."""
    start, end = sentence.span
    if _fits(text, start, end):
        following = next((last for first, last in quotable(text, end, sentence.passage.end) if _fits(text, start, last)), end)
        return start, following
    cuts = [start, *(match.end() for match in _CLAUSE.finditer(text, start, end)), end]
    windows = [(first, max((last for last in cuts if last > first and _fits(text, first, last)), default=0)) for first in cuts[:-1]]
    windows = [(first, last) for first, last in windows if last] or [(start, min(start + LONGEST_ANSWER["dense"], end))]

    def held(span: Span) -> float:
        terms = terms_of(text[slice(*span)])
        return sum(weight * weights.credit(wanted, terms) for wanted, weight in weights.rarity.items())

    first, last = max(windows, key=held)
    while first < last and text[first].isspace():
        first += 1
    return first, last


def _quote_span(text: str, span: Span, end: int) -> Span:
    """The answer and, where words have spaces, what follows it: there, what is asked for is often said a little later."""
    start, last = span
    if not _is_dense(text[start:last]):
        for _, following in quotable(text, last, end):
            if following - start > LONGEST_QUOTE:
                break
            last = following
    return start, last


def _different(candidates: Iterable[_Candidate], texts: Mapping[int, str]) -> Iterator[_Candidate]:
    """Those that do not repeat an earlier one: documents quote each other, and copies stand in several places."""
    seen: list[str] = []
    for candidate in candidates:
        words_only = " ".join(texts[candidate.passage.document][slice(*candidate.quote)].split())
        if not any(words_only in other or other in words_only for other in seen):
            seen.append(words_only)
            yield candidate


def _cite(candidate: _Candidate, text: str) -> Citation:
    start, end = candidate.quote
    return Citation(candidate.passage.path, start, end, text[start:end], round(candidate.score, 4))
