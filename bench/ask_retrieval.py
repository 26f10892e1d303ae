"""Full-text retrieval beside SQLite's own tokenizers and bm25s: hits and time of a question, build time and size, in one table.

python -m bench ask_retrieval FILE... [--more FILE_OR_FOLDER...] [--passages 100000] [--questions N] [--without NAME...] [--seed 1]

FILE: questions in SQuAD's form (.json; every context is a document of its own), or one question a line (.jsonl: question, document)
with a folder ``documents`` beside it. Where these hold fewer passages, more are made of sentences drawn from the files of --more. All
contenders get the same passages; a document is hit where one of its passages is among those found, and counts once. The time is that of
one question from its text to the numbers of 30 passages, one question at a time, the index being open; every contender is asked every
question in turn, A B A B, after a first round of ten. bm25s has its best known set-up: its fastest scorer, numba's if that is there.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._interleaved import processor

LIMIT = 30
WARM = 10
LENGTH = 300  # characters of a passage that is made
_DENSE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
_TOKEN = re.compile(f"[{_DENSE}]+|[^\\W{_DENSE}]+")
_STOP = "a an and are as at be by do does for from how in is it of on or that the this to was what when where which who why"


@dataclass
class Collection:
    """Documents by name, and questions with the document that answers each."""

    texts: dict[str, str] = field(default_factory=dict)
    questions: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Passages:
    """What all contenders index: texts under their headings, and the document of each."""

    texts: list[str]
    documents: list[str]


Search = Callable[[str], Sequence[str]]  # a question -> documents, the best first, with repeats


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("ask_retrieval: name questions in SQuAD's form")
        return
    parser = argparse.ArgumentParser(prog="python -m bench ask_retrieval")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--more", type=Path, nargs="+", default=[])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--without", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-ask-") as folder:
        _compare(given, Path(folder))


def _compare(given: argparse.Namespace, folder: Path) -> None:
    from llamarium.apps.ask.passages import passages

    collection = Collection()
    for file in given.files:
        read(file, collection)
    source = random.Random(given.seed)
    if given.questions:
        collection.questions = source.sample(collection.questions, min(given.questions, len(collection.questions)))
    num = sum(len(passages(text)) for text in collection.texts.values())
    if num < given.passages and given.more:
        collection.texts |= made(given.more, given.passages - num, source)
    all_passages = Passages([], [])
    for name, text in collection.texts.items():
        for passage in passages(text):
            all_passages.texts.append(f"{passage.heading}\n{text[passage.body : passage.end]}")
            all_passages.documents.append(name)
    contenders: dict[str, Callable[[], Search]] = {
        "llamarium": lambda: ours(collection, folder),
        "FTS5 unicode61": lambda: fts5(all_passages, folder / "unicode61", "unicode61", list, whole_words),
        "FTS5 trigram": lambda: fts5(all_passages, folder / "trigram", "trigram", list, trigrams),
        "FTS5, our terms": lambda: fts5(all_passages, folder / "terms", "ascii tokenchars '_.-/:@+#'", our_terms, our_question),
        "bm25s": lambda: bm25s(all_passages),
    }
    searches: dict[str, Search] = {}
    seconds: dict[str, float] = {}
    for name, build in contenders.items():
        if name not in given.without:
            begin = time.perf_counter()
            searches[name] = build()
            seconds[name] = time.perf_counter() - begin
    for search in searches.values():
        for question, _ in collection.questions[:WARM]:
            search(question)
    times: dict[str, list[float]] = {name: [] for name in searches}
    places: dict[str, list[int]] = {name: [] for name in searches}
    for question, document in collection.questions:
        for name, search in searches.items():
            begin = time.perf_counter()
            found = search(question)
            times[name].append(time.perf_counter() - begin)
            distinct = list(dict.fromkeys(found))
            places[name].append(distinct.index(document) + 1 if document in distinct else LIMIT + 1)
    print(
        f"ask_retrieval: {processor()}, {len(collection.questions):,} questions, {len(collection.texts):,} documents, "
        f"{len(all_passages.texts):,} passages, {sum(map(len, all_passages.texts)) / 1e6:.1f} million characters"
    )
    print(f"  {'':18} {'hit@1':>7} {'hit@5':>7} {'median ms':>10} {'95 % ms':>9} {'build s':>8}")
    for name in searches:
        ranks, its = places[name], [1000 * value for value in times[name]]
        at = [sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)]
        slow = statistics.quantiles(its, n=20)[-1] if len(its) > 1 else its[0]
        print(f"  {name:18} {at[0]:7.4f} {at[1]:7.4f} {statistics.median(its):10.2f} {slow:9.2f} {seconds[name]:8.1f}")


# The collection


def read(file: Path, collection: Collection) -> None:
    if file.suffix == ".jsonl":
        from llamarium.text.document import read as read_document

        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry.get("document") and not entry.get("after"):
                name = entry["document"]
                if name not in collection.texts:
                    collection.texts[name] = read_document(file.parent / "documents" / name).text
                collection.questions.append((entry["question"], name))
        return
    articles: Any = json.loads(file.read_text(encoding="utf-8"))
    for article in articles["data"]:
        for paragraph in article["paragraphs"]:
            name = f"{file.stem}-{len(collection.texts):06d}.txt"
            collection.texts[name] = paragraph["context"]
            collection.questions += [(entry["question"], name) for entry in paragraph["qas"]]


def made(files: Iterable[Path], num: int, source: random.Random) -> dict[str, str]:
    """Documents of one passage, each of sentences from anywhere."""
    from llamarium.apps.ask.passages import sentences
    from llamarium.text.document import read_documents
    from llamarium.text.sources import list_files

    known = []
    for file in files:
        for found in list_files(file):
            try:
                documents = read_documents(found.path, source=found.source)
            except Exception as error:  # whatever it is, the benchmark goes on without
                print(f"  left out {found.source}: {error}")
                continue
            for document in documents:
                known += [s for start, end in sentences(document.text, 0, len(document.text)) if len(s := document.text[start:end]) > 10]
    if not known:
        sys.exit("ask_retrieval: the files of --more hold no sentences")
    texts = {}
    for number in range(num):
        text = ""
        while len(text) < LENGTH:
            text += source.choice(known).replace("\n", " ") + " "
        texts[f"made-{number:06d}.txt"] = text[:900]
    return texts


# The contenders: each is built, and gives what finds documents


def ours(collection: Collection, folder: Path) -> Search:
    from llamarium.apps.ask.index import build
    from llamarium.apps.ask.words import question_words

    docs = folder / "docs"
    docs.mkdir()
    begin = time.perf_counter()
    for name, text in collection.texts.items():
        (docs / name).write_text(text, encoding="utf-8")
    writing = time.perf_counter() - begin
    index = build([docs], folder / "index")
    size = (folder / "index").stat().st_size
    print(f"  llamarium: {size / 1e6:.0f} MB; of its build, {writing:.1f} s wrote the documents that it reads")
    return lambda question: [found.path for found in index.search(question_words(question), limit=LIMIT)]


def fts5(passages: Passages, path: Path, tokenizer: str, prepare: Callable[[Any], Any], query: Callable[[str], list[str]]) -> Search:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute(f"CREATE VIRTUAL TABLE t USING fts5(body, content='', tokenize=\"{tokenizer}\")")
    rows: Iterator[tuple[int, str]] = ((number, "".join(prepare(text))) for number, text in enumerate(passages.texts))
    connection.executemany("INSERT INTO t(rowid, body) VALUES (?, ?)", rows)
    connection.execute("INSERT INTO t(t) VALUES ('optimize')")
    connection.commit()

    def search(question: str) -> list[str]:
        terms = " OR ".join('"' + term.replace('"', '""') + '"' for term in dict.fromkeys(query(question)))
        if not terms:
            return []
        found = connection.execute(f"SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT {LIMIT}", (terms,))
        return [passages.documents[number] for (number,) in found]

    return search


def whole_words(question: str) -> list[str]:
    return re.findall(r"\w+", question)


def trigrams(question: str) -> list[str]:
    return [word[start : start + 3] for word in re.findall(r"\w+", question) for start in range(len(word) - 2)]


def our_terms(text: str) -> str:
    from llamarium.apps.ask.words import search_terms

    return search_terms(text)


def our_question(question: str) -> list[str]:
    from llamarium.apps.ask.words import question_words

    return list(question_words(question).terms)


def bm25s(passages: Passages) -> Search:
    import bm25s as library
    import snowballstemmer

    stemmer = snowballstemmer.stemmer("english")
    stems: dict[str, str] = {}
    stop = frozenset(_STOP.split())

    def tokens(text: str) -> list[str]:
        """Pairs of Chinese characters, stems of words."""
        found = []
        for run in _TOKEN.findall(text.lower()):
            if re.match(f"[{_DENSE}]", run):
                found += [run[start : start + 2] for start in range(max(1, len(run) - 1))]
            elif run not in stop:
                if run not in stems:
                    stems[run] = stemmer.stemWord(run)
                found.append(stems[run])
        return found

    try:
        import numba  # noqa: F401

        backend = "numba"
    except ImportError:
        backend = "numpy"
    index = library.BM25(backend=backend)
    index.index([tokens(text) for text in passages.texts], show_progress=False)
    known = index.vocab_dict

    def search(question: str) -> list[str]:
        asked = [token for token in dict.fromkeys(tokens(question)) if token in known]
        if not asked:
            return []
        found, _ = index.retrieve([asked], k=min(LIMIT, len(passages.texts)), show_progress=False, n_threads=1)
        return [passages.documents[number] for number in found[0]]

    return search


if __name__ == "__main__":
    main(sys.argv[1:])
