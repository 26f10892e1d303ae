"""How well questions are answered from documents: retrieval, answers, refusals, citations, time.

python -m bench ask_quality FILE            a file in SQuAD's form: each context becomes a document, all of them one collection
    [--fit]                                 fit the constants of answer.py and threshold.py on one half and on questions of tests/apps/ask
                                            that may be chosen by (half "tune", odd ids); report on the other half
    [--questions FILE --documents DIR]      beside it, a set as tests/apps/ask/data has: hits of the right document, by kind
    [--svg FILE]                            the risk-coverage curve of the half that no weight was fitted to
    [--latency INDEX]                       the median time of an answer from this index, asked with the questions of FILE

Not found: every question is asked of one of two collections, each of half the documents, so that for half of the questions the
document that answers is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from pydoc_data.topics import topics as python_topics

import numpy as np
import torch

from llamarium.apps.ask import answer as answers
from llamarium.apps.ask import threshold
from llamarium.apps.ask.answer import Answer, Features, Sentence, ask, signs_of, weigh_sentences
from llamarium.apps.ask.index import Index, build_in_memory, open_index
from llamarium.apps.ask.retrieve import Weights, retrieve, weigh
from llamarium.apps.ask.synonyms import built_in
from llamarium.apps.ask.words import question_words
from llamarium.evaluate.ask_metrics import auroc, risk_coverage
from llamarium.ground.errors import UsageError
from llamarium.ground.picture import line_chart
from llamarium.text.document import read

CHECKED = 1_000  # questions whose citations are looked at
TESTS = Path(__file__).parent.parent / "tests" / "apps" / "ask"
SECOND = TESTS / "data" / "second"
PARAPHRASES = TESTS / "data" / "third" / "trial-paraphrases.jsonl"


@dataclass(frozen=True)
class Asked:
    """A question, the name of the document that answers it, and the spans that do."""

    question: str
    document: str
    spans: tuple[str, ...]
    id: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench ask_quality")
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--documents", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--latency", type=Path)
    given = parser.parse_args(sys.argv[2:] if arguments is None else arguments)
    if given.file is None:
        print("ask_quality: give a file in SQuAD's form")
        return
    contexts, asked = _squad(given.file)
    with tempfile.TemporaryDirectory() as folder:
        everything = _write(Path(folder) / "all", contexts)
        halves = [
            _write(Path(folder) / f"half{half}", {n: c for i, (n, c) in enumerate(contexts.items()) if i % 2 == half}) for half in (0, 1)
        ]
        with build_in_memory([everything]) as index, build_in_memory([halves[0]]) as even, build_in_memory([halves[1]]) as odd:
            if given.fit:
                with Own(Path(folder)) as own:
                    _fit([(index, one, 1.0) for number, one in enumerate(asked) if not _half(number)] + own.sentences)
                    split = _split((even, odd), asked, list(contexts))
                    cases = [(found, one, answerable, 1.0) for one, found, answerable, half in split if not half]
                    _fit_threshold(cases + _both(_in_other_words(asked, 0), (even, odd), list(contexts), 2.5) + own.decisions)
            _retrieval(index, asked)
            _answers(index, asked, everything)
            print("of these, the half that no weight was fitted to:")
            _answers(index, [one for number, one in enumerate(asked) if _half(number)], everything)
            _refusals((even, odd), asked, list(contexts), svg=given.svg)
            _refusals_in_other_words(_both(_in_other_words(asked, 1), (even, odd), list(contexts), 1.0))
    if given.questions and given.documents:
        _paraphrases(given.questions, given.documents)
    if given.latency:
        with open_index(given.latency) as index:
            seconds = [_ask(index, one.question).seconds for one in asked[:200]]
        print(f"answers from {index.num_passages:,} passages: {1000 * statistics.median(seconds):.0f} ms at the median")


def _squad(path: Path) -> tuple[dict[str, str], list[Asked]]:
    """Each context under a name, and the questions."""
    contexts: dict[str, str] = {}
    asked: list[Asked] = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            name = f"{len(contexts):05d}.txt"
            contexts[name] = paragraph["context"]
            for qa in paragraph["qas"]:
                asked.append(Asked(qa["question"], name, tuple(answer["text"] for answer in qa["answers"]), qa["id"]))
    return contexts, asked


def _write(folder: Path, contexts: dict[str, str]) -> Path:
    folder.mkdir()
    for name, context in contexts.items():
        (folder / name).write_text(context, encoding="utf-8")
    return folder


def _retrieval(index: Index, asked: Sequence[Asked]) -> None:
    hits = [_rank_of(index, one.question, one.document) for one in asked]
    print(f"{index.num_documents:,} documents, {len(asked):,} questions: {_hits(hits)}")


def _rank_of(index: Index, question: str, document: str) -> float:
    expanded = built_in().expand(question_words(question), question)
    paths = list(dict.fromkeys(passage.path for passage in retrieve(index, expanded, question)))
    return paths.index(document) + 1 if document in paths else float("inf")


def _answers(index: Index, asked: Sequence[Asked], folder: Path) -> None:
    first = both = answered = sound = cited = 0
    for number, one in enumerate(asked):
        answer = _ask(index, one.question)
        answered += answer.found
        both += any(span in answer.answer for span in one.spans)
        first += any(span in _first_sentence(answer) for span in one.spans)
        if number < CHECKED:
            for citation in (*answer.citations, *answer.nearest, *answer.passages):
                cited += 1
                sound += read(folder / citation.document).text[citation.start : citation.end] == citation.quote
    total = len(asked)
    print(f"found {answered / total:.3f}; the span is in the first sentence {first / total:.3f}, in the answer {both / total:.3f}")
    print(f"citations of {min(total, CHECKED):,} questions: {sound:,} of {cited:,} are text[start:end] of what read prints")


def _ask(index: Index, question: str) -> Answer:
    """The answer; none to a question without words, as one of CMRC's is."""
    try:
        return ask(index, question)
    except UsageError:
        return Answer(found=False, answer="", citations=(), seconds=0.0)


def _first_sentence(answer: Answer) -> str:
    text = answer.answer
    return text[slice(*answers.quotable(text, 0, len(text))[0])] if text else ""


def _half(number: int) -> int:
    """Whether a question is for fitting (0), both of sentences and of the decision, or for reporting (1)."""
    return (number * 40_503 >> 5) % 2


def _split(halves: Sequence[Index], asked: Sequence[Asked], names: Sequence[str]) -> Iterator[tuple[Asked, Index, bool, int]]:
    """Each question, the collection it is asked of, whether that has the answer, and whether it is for fitting (0) or reporting (1)."""
    for number, one in enumerate(asked):
        answerable = bool((number * 2_654_435_761 >> 7) % 2)
        own = names.index(one.document) % 2
        yield one, halves[own if answerable else 1 - own], answerable, _half(number)


def _refusals(halves: Sequence[Index], asked: Sequence[Asked], names: Sequence[str], *, svg: Path | None) -> None:
    rows = [
        (answer.confidence, answerable, any(span in answer.answer for span in one.spans))
        for one, index, answerable, half in _split(halves, asked, names)
        if half
        for answer in [_ask(index, one.question)]
    ]
    confidence, answerable = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    _told_apart(f"not found, on {len(rows):,}", confidence[answerable].tolist(), confidence[~answerable].tolist())
    if svg is not None:
        points = risk_coverage(confidence.tolist(), [bool(row[2]) for row in rows])
        svg.write_text(
            line_chart({"ask": points}, title="Risk and coverage", x_label="share answered", y_label="of these, without the span"),
            encoding="utf-8",
        )


def _in_other_words(asked: Sequence[Asked], half: int) -> list[Asked]:
    """The questions of CMRC's trial that were asked once more in other words, and are of this half as they were."""
    known = {one.id: one for number, one in enumerate(asked) if _half(number) == half}
    rows = [json.loads(line) for line in PARAPHRASES.read_text(encoding="utf-8").splitlines()]
    return [replace(known[row["id"]], question=row["question"]) for row in rows if row["id"] in known]


def _both(asked: Sequence[Asked], halves: Sequence[Index], names: Sequence[str], weight: float) -> list[tuple[Index, Asked, bool, float]]:
    """Each question of the collection that has the answer, and of the other."""
    return [(halves[half], one, half == names.index(one.document) % 2, weight) for one in asked for half in (0, 1)]


def _refusals_in_other_words(cases: Sequence[tuple[Index, Asked, bool, float]]) -> None:
    if not cases:
        return
    rows = [(_ask(index, one.question).confidence, answerable) for index, one, answerable, _ in cases]
    there, missing = [value for value, answerable in rows if answerable], [value for value, answerable in rows if not answerable]
    _told_apart(f"the same in other words, {len(there):,}", there, missing)


def _told_apart(what: str, there: Sequence[float], missing: Sequence[float]) -> None:
    """How well confidence tells questions whose answer is there from those whose answer is missing."""
    print(f"{what} questions that no weight was fitted to: AUROC {auroc(there, missing):.3f}")
    for name, border in (("sure", threshold.SURE), ("found", threshold.THRESHOLD)):
        shares = [sum(value >= border for value in values) / len(values) for values in (there, missing)]
        print(f"  {name} (from {border}): {shares[0]:.3f} of what is answerable, {shares[1]:.3f} of the rest")


def _paraphrases(questions: Path, documents: Path) -> None:
    rows = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    with build_in_memory([documents]) as index:
        groups: dict[str, list[tuple[float, bool, bool]]] = {}
        for row in rows:
            if row["kind"] == "follow_up":
                continue
            foreign = row["language"] == "zh" and row["document"].isascii() and bool(row["document"])
            number = int(row["id"].rpartition("-")[2])
            name = f"{row['language']} {row['kind']}{' of English documents' if foreign else ''}, {'odd' if number % 2 else 'even'} ids"
            rank = _rank_of(index, row["question"], row["document"]) if row["document"] else float("inf")
            answer = _ask(index, row["question"])
            groups.setdefault(name, []).append((rank, answer.found, answer.sure))
    for name, rows_of in sorted(groups.items()):
        ranks, found, sure = zip(*rows_of, strict=True)
        print(f"{name}: {len(ranks)} questions, {_hits(ranks)}, found {_share(found)}, sure {_share(sure)}")


@dataclass(frozen=True)
class Weighed:
    """What `ask` knows of a question before it decides."""

    sentences: list[Sentence]
    texts: dict[int, str]
    weights: Weights
    signs: threshold.Signs | None


def _weighed(index: Index, question: str) -> Weighed:
    expanded = built_in().expand(question_words(question), question)
    weights = weigh(index, expanded)
    passages = retrieve(index, expanded, question, weights=weights)[: answers.NUM_PASSAGES]
    texts = {passage.document: index.text(passage.document) for passage in passages}
    found = weigh_sentences(passages, texts, question, weights)
    return Weighed(found, texts, weights, signs_of(found, passages, texts, weights) if found else None)


class Own:
    """The questions of tests/apps/ask, with how much each counts beside those of the file."""

    def __init__(self, folder: Path) -> None:
        topics = folder / "topics"
        topics.mkdir()
        for name, text in python_topics.items():
            (topics / f"{name}.txt").write_text(text, encoding="utf-8")
        self._indexes = [
            build_in_memory([place]) for place in (topics, TESTS / "chinese", TESTS / "data" / "documents", SECOND / "documents")
        ]
        self.sentences: list[tuple[Index, Asked, float]] = []
        self.decisions: list[tuple[Index, Asked, bool, float]] = []
        english, chinese, documents, second = self._indexes
        sets = json.loads((TESTS / "questions.json").read_text(encoding="utf-8"))
        for index, language, weight in ((english, "english", 2.0), (chinese, "chinese", 6.0)):
            for entry in sets[language]:
                if entry["half"] == "tune":
                    self._add(index, Asked(entry["question"], "", tuple(entry["evidence"])), weight)
        for one in _odd(TESTS / "data"):
            self._add(documents, one, 3.0)
        self.decisions += [(second, one, bool(one.spans), 1.5) for one in _odd(SECOND)]

    def _add(self, index: Index, one: Asked, weight: float) -> None:
        self.decisions.append((index, one, bool(one.spans), weight))
        if one.spans:
            self.sentences.append((index, one, 2.0))

    def __enter__(self) -> Own:
        return self

    def __exit__(self, *error: object) -> None:
        for index in self._indexes:
            index.close()


def _odd(folder: Path) -> Iterator[Asked]:
    """The plain questions of a set, and those without an answer, that may be chosen by."""
    for line in (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if int(row["id"].rpartition("-")[2]) % 2 and row["kind"] in ("plain", "unanswerable"):
            yield Asked(row["question"], row["document"], (row["answer"],) if row["answer"] else ())


def _fit(cases: Sequence[tuple[Index, Asked, float]]) -> None:
    """The weights of a conditional logit: of all sentences of a question, one that begins a right answer is chosen."""
    choices = []
    for index, one, weight in cases:
        weighed = _weighed(index, one.question)
        found, texts, weights = weighed.sentences, weighed.texts, weighed.weights
        right = []
        for sentence in found:
            text, passage = texts[sentence.passage.document], sentence.passage
            quote = _squashed(text[slice(*answers._quote_span(text, answers._answer_span(text, sentence, weights), passage.end))])
            right.append(one.document in ("", passage.path) and any(_squashed(span) in quote for span in one.spans))
        if any(right):
            choices.append((torch.tensor([astuple(sentence.features) for sentence in found]), torch.tensor(right), weight))
    fitted = torch.zeros(len(fields(Features)), requires_grad=True)
    counts = torch.tensor([weight for _, _, weight in choices])

    def loss() -> torch.Tensor:
        scores = [(features @ fitted, right) for features, right, _ in choices]
        chosen = torch.stack([score[right].logsumexp(0) - score.logsumexp(0) for score, right in scores])
        return -(chosen * counts).sum() / counts.sum() + 1e-3 * fitted.square().sum()

    _minimise(loss, [fitted])
    print("weights:", {field.name: round(value, 2) for field, value in zip(fields(Features), fitted.tolist(), strict=True)})


def _fit_threshold(cases: Sequence[tuple[Index, Asked, bool, float]]) -> None:
    """A logistic regression of whether there is an answer."""
    rows = [(found, answerable, weight) for index, one, answerable, weight in cases if (found := _weighed(index, one.question).signs)]
    signs = torch.tensor([astuple(found) for found, _, _ in rows])
    labels, counts = torch.tensor([float(row[1]) for row in rows]), torch.tensor([row[2] for row in rows])
    weights, intercept = torch.zeros(signs.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)

    def loss() -> torch.Tensor:
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(signs @ weights + intercept, labels, counts, reduction="sum")
        return entropy / counts.sum() + 1e-3 * weights.square().sum()

    _minimise(loss, [weights, intercept])
    fitted = {field.name: round(value, 2) for field, value in zip(fields(threshold.Signs), weights.tolist(), strict=True)}
    print("threshold:", fitted, "intercept", round(intercept.item(), 2))


def _squashed(text: str) -> str:
    return " ".join(text.split())


def _minimise(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _hits(ranks: Sequence[float]) -> str:
    return f"hit@1 {_share(rank <= 1 for rank in ranks)}, hit@5 {_share(rank <= 5 for rank in ranks)}"


def _share(found: Iterable[bool]) -> str:
    return f"{statistics.fmean(found):.3f}"
