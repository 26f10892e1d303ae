"""``llamarium evaluate``: how well a model knows a text, and how well questions about documents are answered."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamarium.cli._output import Json, print_json, print_text
from llamarium.cli.generate import Device, Dtype

if TYPE_CHECKING:
    from llamarium.apps.ask.evaluation import Outcome, Way
    from llamarium.apps.ask.index import Index
    from llamarium.apps.ask.question_sets import QuestionSet
    from llamarium.apps.ask.roads import Travelled
    from llamarium.evaluate.bits_per_byte import Score

TASKS = {"ask": "answers from documents", "roads": "rules, statistics and learning, compared"}


def command(
    model: Annotated[
        str | None, typer.Argument(help="A path, a catalogue name, or hf:REPO. With a task: it judges which passage a question is about.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A corpus folder; its validation part is scored.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="ask: answers from documents; roads: rules, statistics and learning.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With a task: JSON lines of question, document, answer, after; or SQuAD's form.")
    ] = None,
    docs: Annotated[str | None, typer.Option(metavar="DIR", help="With a task: the documents; SQuAD's form carries its own.")] = None,
    index: Annotated[Path | None, typer.Option(metavar="FILE", help="With a task: the documents as llamarium index made them.")] = None,
    vectors: Annotated[
        str | None, typer.Option(metavar="MODEL", help="With a task and --docs: also compare meanings, by this model's vectors.")
    ] = None,
    synonyms: Annotated[Path | None, typer.Option(metavar="FILE", help="With a task: your own synonyms, a group a line.")] = None,
    faq: Annotated[Path | None, typer.Option(metavar="FILE", help="With the task roads: questions with answers.")] = None,
    patterns: Annotated[Path | None, typer.Option(metavar="FILE", help="With the task roads: your own patterns, in YAML.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="With a task: write a page with a picture here.")] = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Bits per byte of a model on the validation part of a corpus; measures of answers from documents."""
    from llamarium.ground.errors import UsageError, nearest

    tasks = list(dict.fromkeys(task or ()))
    for name in tasks:
        if name not in TASKS:
            raise UsageError(f"There is no task {name!r}.", hint=nearest(name, TASKS))
    if data is None and not tasks:
        raise UsageError("There is nothing to evaluate.", hint="--data CORPUS scores a model; --task ask measures answers.")
    if data is not None and model is None:
        raise UsageError("--data needs a MODEL to score.", hint="llamarium evaluate MODEL --data CORPUS")
    if tasks and questions is None:
        raise UsageError("A task needs --questions FILE.", hint="docs/guides/questions.md tells how to make one's own.")
    score = _score(str(model), data, dtype, device) if data is not None else None
    outcomes: dict[str, list[Outcome]] = {}
    travelled: list[Travelled] = []
    if questions is not None and tasks:
        from llamarium.apps.ask.question_sets import read_questions

        asked = read_questions(questions)
        with _open(asked, docs, index, vectors) as opened:
            ways = _ways(opened, model, synonyms, dtype, device)
            if "ask" in tasks:
                from llamarium.apps.ask.evaluation import run

                outcomes = {way.name: run(opened, asked.questions, way) for way in ways}
            if "roads" in tasks:
                travelled = _travel(opened, asked, ways[-1], faq, patterns)
            if out is not None:
                _write_page(out, outcomes, travelled, f"{len(asked.questions):,} questions, asked of {opened.num_documents:,} documents.")
    if json:
        print_json(_as_json(score, outcomes, travelled))
    else:
        print_text("\n\n".join(_tables(score, outcomes, travelled)))


def _score(model: str, data: Path, dtype: str, device: str) -> Score:
    from llamarium.checkpoint.open import open_model
    from llamarium.evaluate.bits_per_byte import bits_per_byte
    from llamarium.ground.device import pick_device, pick_dtype
    from llamarium.text.corpus import open_corpus

    corpus = open_corpus(data)
    opened = open_model(model, dtype=pick_dtype(dtype), device=pick_device(device))
    return bits_per_byte(opened.model, opened.tokenizer, (document.text for document in corpus.documents("valid")))


@contextlib.contextmanager
def _open(asked: QuestionSet, docs: str | None, index: Path | None, vectors: str | None) -> Iterator[Index]:
    """The documents that the questions are about."""
    from llamarium.apps.ask.index import build, build_in_memory, open_index
    from llamarium.ground.errors import UsageError

    given = [each for each in (docs, index, asked.documents or None) if each is not None]
    if len(given) != 1:
        message = "The task needs the documents: --docs or --index." if not given else "The documents are given more than once."
        raise UsageError(message, hint="One of --docs DIR, --index FILE, or questions in SQuAD's form, which carry their documents.")
    if index is not None and vectors is not None:
        raise UsageError("--vectors is for --docs: an index has its own.", hint="llamarium index DOCS --out FILE --vectors MODEL")
    with contextlib.ExitStack() as stack:
        if index is not None:
            yield stack.enter_context(open_index(index))
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = docs
        if source is None:
            (folder / "documents").mkdir()
            asked.write_documents(folder / "documents")
            source = str(folder / "documents")
        yield stack.enter_context(build([source], folder / "index", vectors=vectors) if vectors else build_in_memory([source]))


def _ways(opened: Index, model: str | None, synonyms: Path | None, dtype: str, device: str) -> list[Way]:
    """Words alone, then with what is there beside them: vectors, and a model that judges."""
    from llamarium.apps.ask.evaluation import Way
    from llamarium.apps.ask.synonyms import read_synonyms
    from llamarium.apps.ask.vectors import open_vectors

    found = [Way("words", synonyms=read_synonyms(synonyms) if synonyms is not None else None)]
    if (vectors := open_vectors(opened)) is not None:
        found.append(replace(found[-1], name="and vectors", vectors=vectors))
    if model is not None:
        from llamarium.apps.ask.rerank import Likelihood
        from llamarium.checkpoint.open import open_model
        from llamarium.ground.device import pick_device, pick_dtype

        judge = open_model(model, dtype=pick_dtype(dtype), device=pick_device(device))
        found.append(replace(found[-1], name="and a judge", judge=Likelihood(judge.model, judge.tokenizer)))
    return found


def _travel(opened: Index, asked: QuestionSet, way: Way, faq: Path | None, patterns: Path | None) -> list[Travelled]:
    from llamarium.apps.ask.faq import read_faq
    from llamarium.apps.ask.patterns import read_patterns
    from llamarium.apps.ask.roads import roads, travel

    answers = read_faq(faq, synonyms=way.synonyms).answer if faq is not None else None
    rules = read_patterns(patterns, opened).answer if patterns is not None else None
    return travel(opened, asked.questions, roads(opened, faq=answers, patterns=rules, way=way))


def _write_page(out: Path, outcomes: dict[str, list[Outcome]], travelled: Sequence[Travelled], documents: str) -> None:
    from llamarium.apps.ask.evaluation_page import render
    from llamarium.ground import files, progress

    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, render(outcomes, travelled, documents=documents))
    progress.say(f"The page: {out}")


def _as_json(score: Score | None, outcomes: dict[str, list[Outcome]], travelled: Sequence[Travelled]) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    if outcomes:
        from llamarium.apps.ask.evaluation import measure

        tasks |= {"ask" if number == 0 else f"ask, {name}": measure(each) for number, (name, each) in enumerate(outcomes.items())}
    tasks |= {f"roads, {each.road.name}": each.measures for each in travelled}
    return {
        "bits_per_byte": None if score is None else score.bits_per_byte,
        "perplexity": None if score is None else score.perplexity,
        "tokens": None if score is None else score.tokens,
        "bytes": None if score is None else score.bytes,
        "tasks": tasks,
    }


def _tables(score: Score | None, outcomes: dict[str, list[Outcome]], travelled: Sequence[Travelled]) -> list[str]:
    found = []
    if score is not None:
        bits = f"{score.bits_per_byte:.4f} bits per byte (less is better), over {score.bytes:,} bytes"
        found.append(f"{bits}\n{score.perplexity:.3f} perplexity a token, over {score.tokens:,} tokens")
    if outcomes or travelled:
        from llamarium.apps.ask.evaluation_page import lines, road_lines

        found += ["\n".join(lines(outcomes))] if outcomes else []
        found += ["\n".join(road_lines(travelled))] if travelled else []
    return found
