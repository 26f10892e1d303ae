"""Questions with what should come of them, to measure answers by.

Takes: a file of one's own (JSON lines) or one in the form of SQuAD and CMRC.
Gives: questions, each with its document, the answers expected and the question that it follows; in SQuAD's form the documents, too.
Does not know: indexes; who answers.

    {"question": "How long does it stand?", "document": "manual.md", "answer": "4 hours"}
    {"question": "And in winter?", "document": "manual.md", "after": "How long does it stand in summer?"}
    {"question": "Who invented it?"}

`document` is its path below the folder of documents, with "/". Without one, no document answers, and the right answer is to say so.
`answer` is a short part of the document, or a list of such; `after` the question before, in a conversation; `kind` any word to tell kinds
of questions apart. Other keys are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llamarium.ground.errors import BadFileError, NotFoundError
from llamarium.text.document import whole_characters

LARGEST_FILE = 200_000_000  # bytes
GUIDE = 'A line is {"question": "...", "document": "...", "answer": "..."}; docs/guides/questions.md tells more.'


@dataclass(frozen=True)
class Posed:
    """A question and what should come of it. `document`: empty where none has an answer."""

    question: str
    document: str = ""
    answers: tuple[str, ...] = ()
    after: str = ""
    kind: str = ""


@dataclass(frozen=True)
class QuestionSet:
    """Questions, and the texts of their documents by name where the file carries them (SQuAD's form)."""

    questions: tuple[Posed, ...]
    documents: Mapping[str, str] = field(default_factory=dict)

    def write_documents(self, folder: Path) -> None:
        """Each document as a file of its name in `folder`."""
        for name, text in self.documents.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")


def read_questions(path: Path) -> QuestionSet:
    """The questions of a file. `NotFoundError` if it is not there, `BadFileError` where it is no set of questions."""
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist." if not path.exists() else f"{path} is no file.", hint=GUIDE)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadFileError(path, f"has more than {LARGEST_FILE:,} bytes.", hint="Take a part of it.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(path, "is not UTF-8 text.", offset=error.start) from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from error
    found = _squad(text, path) or QuestionSet(tuple(_lines(text, path)))
    if not found.questions:
        raise BadFileError(path, "holds no questions.", hint=GUIDE)
    return found


def _lines(text: str, path: Path) -> Iterator[Posed]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise BadFileError(path, f"line {number} is no JSON.", hint=GUIDE) from None
        yield _posed(record, path, number)


def _posed(record: Any, path: Path, number: int) -> Posed:
    def text_of(key: str, value: Any) -> str:
        if value is not None and not isinstance(value, str):
            raise BadFileError(path, f"line {number}: {key} is no text.", hint=GUIDE)
        return whole_characters(value or "").strip()

    if not isinstance(record, dict) or not text_of("question", record.get("question")):
        raise BadFileError(path, f"line {number} has no question.", hint=GUIDE)
    given = record.get("answer", record.get("answers"))
    answers = [text_of("answer", each) for each in (given if isinstance(given, list) else [given])]
    posed = Posed(
        question=text_of("question", record["question"]),
        document=text_of("document", record.get("document")),
        answers=tuple(answer for answer in answers if answer),
        after=text_of("after", record.get("after")),
        kind=text_of("kind", record.get("kind")),
    )
    if posed.answers and not posed.document:
        raise BadFileError(path, f"line {number} has an answer, but no document.", hint=GUIDE)
    return posed


def _squad(text: str, path: Path) -> QuestionSet | None:
    """One JSON object with `data`; None where the file is something else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or "data" not in value:
        return None
    questions: list[Posed] = []
    documents: dict[str, str] = {}
    try:
        for article in value["data"]:
            for paragraph in article["paragraphs"]:
                name = f"{len(documents) + 1:06}.txt"
                documents[name] = whole_characters(str(paragraph["context"])).replace("\r\n", "\n")
                for asked in paragraph["qas"]:
                    answers = tuple(dict.fromkeys(whole_characters(str(answer["text"])) for answer in asked.get("answers", ())))
                    there = bool(answers) and not asked.get("is_impossible", False)
                    questions.append(Posed(whole_characters(str(asked["question"])), name if there else "", answers if there else ()))
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"has data, but not as SQuAD has it ({type(error).__name__}: {error})."
        raise BadFileError(path, reason, hint="data: [{paragraphs: [{context, qas: [{question, answers: [{text}]}]}]}]") from None
    return QuestionSet(tuple(questions), documents)
