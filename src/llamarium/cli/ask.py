"""``llamarium ask``: a question, answered with quotes from documents, each at its place."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llamarium.cli._options import Embeddings, Store
from llamarium.cli._output import Json, print_json, print_text

if TYPE_CHECKING:
    from llamarium.apps.ask.answer import Answer, Citation
    from llamarium.apps.ask.index import Index
    from llamarium.engine.language_model import LanguageModel

MOST_LISTED = 5
SLOW = 5.0  # seconds of reading documents after which an index is recommended
QUIT = (":quit", ":q", ":exit")
NOT_SURE = {"en": "not sure that this answers it; the closest that was found:", "zh": "不确定这就是答案；最接近的原文："}
NOT_FOUND = {"en": "Not in your documents.", "zh": "文档里没有。"}

# Documents and their names come from anywhere: an escape sequence could rewrite what stands on the terminal.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def command(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]", help="What you want to know; without it a conversation, or a question a line of standard input."
        ),
    ] = None,
    *,
    docs: Annotated[str | None, typer.Option("--docs", metavar="DIR", help="A folder or file to read, or python:docs.")] = None,
    index: Annotated[Path | None, typer.Option("--index", metavar="FILE", help="An index made by llamarium index.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Let this model phrase the answer; a sentence stays if a quote bears it.")
    ] = None,
    faq: Annotated[
        Path | None, typer.Option("--faq", metavar="FILE", help="Questions with answers (.md, .csv, .jsonl), looked at first.")
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option("--synonyms", metavar="FILE", help="Your own words for the same thing, one group a line, commas between.")
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option("--rerank", metavar="MODEL", help="Let this model judge which of the ten best passages the question is about."),
    ] = None,
    embeddings: Embeddings = None,
    at: Store = None,
    json: Json = False,
) -> None:
    """Answer a question with verbatim quotes from your documents, or say that they do not answer it."""
    from llamarium.ground.errors import UsageError

    if question is not None and not question.strip():
        raise UsageError("The question is empty.", hint='For example: llamarium ask "How is it installed?" --docs DIR')
    begin = time.perf_counter()
    with _open(docs if docs or index or not faq else str(faq), index) as opened:
        asking = _asking(opened, synonyms=synonyms, rerank=rerank, embeddings=embeddings, at=at)
        answers = _answers(asking, faq=faq)
        if question is None:
            _converse(answers, model=model, json=json)
        else:
            answer = _in_words(model, question, answers(question))
            _show(question, replace(answer, seconds=time.perf_counter() - begin), json=json)


def _asking(opened: Index, *, synonyms: Path | None, rerank: str | None, embeddings: str | None, at: str | None) -> Callable[[str], Answer]:
    """What answers from the documents: by words, by vectors where the index has them, and as a model judges, if one shall."""
    from llamarium.apps.ask.answer import ask
    from llamarium.apps.ask.synonyms import read_synonyms
    from llamarium.apps.ask.vectors import open_vectors

    judge = None
    vectors = open_vectors(opened, embeddings=embeddings, at=at)
    if rerank is not None:
        from llamarium.apps.ask.rerank import Likelihood

        loaded = _loaded(rerank)
        judge = Likelihood(loaded.model, loaded.tokenizer)
    known = read_synonyms(synonyms) if synonyms is not None else None
    return functools.partial(ask, opened, synonyms=known, vectors=vectors, judge=judge)


def _answers(asking: Callable[[str], Answer], *, faq: Path | None) -> Callable[[str], Answer]:
    """What answers a question: the FAQ where it is one of its questions, else the documents."""
    from llamarium.apps.ask.faq import read_faq
    from llamarium.ground import progress

    known = read_faq(faq) if faq is not None else None

    def answers(question: str) -> Answer:
        begin = time.perf_counter()
        if known is not None and (direct := known.answer(question)) is not None:
            return replace(direct, seconds=time.perf_counter() - begin)
        answer = asking(question)
        for path in answer.dropped:
            progress.say(f"a quote from {shown(path)} was dropped: the document is not what was indexed; make the index again")
        return answer

    return answers


def _in_words(model: str | None, question: str, answer: Answer) -> Answer:
    """The answer in a model's words, where there is a model and something that it can bear on."""
    return replace(answer, answer=_phrased(model, question, answer)) if model is not None and answer.found else answer


def _converse(answers: Callable[[str], Answer], *, model: str | None, json: bool) -> None:
    """Questions of standard input, one a line, each understood after the one before; ``:quit`` or Ctrl-D ends."""
    from llamarium.apps.ask.conversation import Conversation
    from llamarium.ground import progress
    from llamarium.ground.errors import UsageError
    from llamarium.text.document import whole_characters

    talk = Conversation(answers)
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  arrows and earlier questions
        progress.say("Ask; a question may go on from the one before. :quit ends.")
    while True:
        try:
            line = whole_characters(input("> " if at_terminal else "")).strip()
        except EOFError:
            return
        if line in QUIT:
            return
        if not line:
            continue
        begin = time.perf_counter()
        try:
            turn = talk.ask(line)
        except UsageError as error:  # there is no question in it: the next may be one
            progress.say(error.message)
            if json:
                print_json({"found": False, "answer": "", "citations": [], "seconds": 0.0})
            continue
        if turn.meant != turn.question:
            progress.say(f"understood as: {shown(turn.meant)}")
        answer = _in_words(model, turn.meant, turn.answer)
        _show(turn.meant, replace(answer, seconds=time.perf_counter() - begin), json=json)
        if not json:
            print_text("")


def _show(question: str, answer: Answer, *, json: bool) -> None:
    """The answer, and where it stands."""
    from llamarium.ground import progress

    if json:
        citations = [asdict(citation) for citation in answer.citations]
        print_json({"found": answer.found, "answer": answer.answer, "citations": citations, "seconds": answer.seconds})
        return
    language = _language(question)
    if not answer.found:
        print_text(NOT_FOUND[language])
        for citation in answer.nearest:
            progress.say(f"nearest: {_place(citation)}")
        if answer.other_script:
            progress.say("the question is in another language than the documents: ask in theirs")
        return
    if not answer.sure:
        progress.say(NOT_SURE[language])
    quotes = [citation.quote for citation in answer.citations]
    is_phrased = not (quotes and quotes[0].startswith(answer.answer))
    if is_phrased:
        print_text(shown(answer.answer) + "\n")
    numbers = [f"[{number}] " if is_phrased else "" for number in range(1, len(quotes) + 1)]
    places = [f"{_marked(citation.quote, question)}\n    -- {_place(citation)}" for citation in answer.citations]
    print_text("\n\n".join(number + place for number, place in zip(numbers, places, strict=True)))


def _language(question: str) -> str:
    """The language in which the answer is talked about."""
    from llamarium.text.language import guess_language

    return "zh" if guess_language(question) == "zh" else "en"


def _open(docs: str | None, index: Path | None) -> Index:
    from llamarium.apps.ask.index import build_in_memory, open_index
    from llamarium.ground import progress
    from llamarium.ground.errors import UsageError

    if index is not None and docs is None:
        return open_index(index)
    if docs is None or index is not None:
        raise UsageError(
            "ask takes either --docs or --index.", hint="--docs DIR reads a folder now; --index FILE was made by llamarium index."
        )
    begin = time.monotonic()
    opened = build_in_memory([docs])
    for bad in opened.bad_documents[:MOST_LISTED]:
        progress.say(f"left out {shown(bad.path)}: {shown(bad.reason)}")
    if len(opened.bad_documents) > MOST_LISTED:
        progress.say(f"and {len(opened.bad_documents) - MOST_LISTED:,} more files")
    if time.monotonic() - begin > SLOW:
        progress.say(f"the next question is quicker with an index: llamarium index {docs} --out FILE")
    return opened


def _phrased(model: str, question: str, answer: Answer) -> str:
    """The model's sentences with the numbers of their quotes, or the quotes where these bear none of them."""
    from llamarium.apps.ask.phrase import phrased_answer
    from llamarium.ground import progress

    phrased = phrased_answer(_loaded(model), question, [citation.quote for citation in answer.citations])
    if phrased.refused:
        progress.say(f"{len(phrased.refused)} of the model's sentences said what the quotes do not, and were dropped")
    return phrased.text if phrased.phrased else answer.answer


@functools.cache
def _loaded(model: str) -> LanguageModel:
    from llamarium.engine.language_model import load

    return load(model)


def _place(citation: Citation) -> str:
    return f"{shown(citation.document)}:{citation.start}-{citation.end}"


def _marked(quote: str, question: str) -> str:
    """The quote, with what was asked in bold where a terminal shows it."""
    from llamarium.apps.ask.answer import highlights

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return shown(quote)
    parts, done = [], 0
    for start, end in highlights(quote, question):
        parts += [shown(quote[done:start]), f"\x1b[1m{shown(quote[start:end])}\x1b[0m"]
        done = end
    return "".join([*parts, shown(quote[done:])])


def shown(text: str) -> str:
    """Text of others, with control characters as visible marks; offsets and JSON keep what it really is."""
    return _CONTROLS.sub("\ufffd", text)
