"""Word vectors: read from a text file, or trained on the tokenizer's own pieces, for a model to start its embeddings from.

Takes: a file in word2vec's or GloVe's text form, plain or gzip; or documents as ids.
Gives: a vector for each piece of a vocabulary that has one, centred, and as large as a fresh embedding.
Does not know: models.

Mikolov et al. 2013 (arXiv:1301.3781, arXiv:1310.4546), Pennington et al. 2014 (doi:10.3115/v1/D14-1162).
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from llamarium.ground import progress
from llamarium.ground.errors import BadFileError, MissingExtraError, NotFoundError, UsageError
from llamarium.tokens.tokenizer import Tokenizer

MAX_WIDTH = 8192
MAX_LINE = 1 << 20  # bytes
MAX_BYTES = 4 << 30  # of words and numbers that are kept
WORD_BYTES = 100  # of memory that a word takes beside its letters and numbers
LONGEST = 10_000  # ids that gensim reads of one document; it drops the rest without a word
HINT = "Word vectors are read in the text forms of word2vec and GloVe, plain or .gz; convert a binary file first."

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """`words`, each once, and the vector of each: `rows` is float32 (N, D)."""

    words: tuple[str, ...]
    rows: Rows


def read_vectors(path: Path, *, tokenizer: Tokenizer | None = None) -> Vectors:
    """Read a file of lines "word number number …", with word2vec's first line "N D" or, as GloVe has it, without.

    With a `tokenizer` only words that its pieces spell are kept, so that memory follows the vocabulary and not the file.
    A word that comes twice keeps its first vector. `BadFileError` names the line that is wrong.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {path} to read word vectors from.")
    wanted = None if tokenizer is None else {form for word in spellings(tokenizer) for form in (word, word.lower())}
    places: dict[str, None] = {}
    numbers = bytearray()  # grows in place
    room = MAX_BYTES
    width = promised = None
    num_words = 0
    for number, line in _lines(path):
        parts = line.split(b" ")
        if number == 1:
            if len(parts) == 2 and all(part.isdigit() for part in parts):
                promised, width = int(parts[0][:19]), int(parts[1][:19])
            else:
                width = len(parts) - 1
            if not 1 <= width <= MAX_WIDTH:
                raise BadFileError(path, f"line 1 speaks of vectors of {width:,} numbers; 1 to {MAX_WIDTH:,} can be read.", hint=HINT)
            if promised is not None:
                continue
        assert width is not None
        num_words += 1
        word, row = _parse(parts, width, f"line {number:,}", path)
        if word in places or (wanted is not None and word not in wanted):
            continue
        room -= WORD_BYTES + len(word.encode()) + 4 * width
        if room < 0:
            reason = f"line {number:,}: the vectors up to here take more than {MAX_BYTES >> 20:,} MiB."
            raise BadFileError(path, reason, hint="Cut the file off after its most frequent words, which come first.")
        places[word] = None
        numbers += row.tobytes()
    if promised not in (None, num_words):
        raise BadFileError(path, f"promises {promised:,} words in its first line and holds {num_words:,}.")
    if width is None:
        raise BadFileError(path, "is empty.", hint=HINT)
    return Vectors(tuple(places), np.frombuffer(numbers, dtype=np.float32).reshape(len(places), width))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and content of each line, without what ends it."""
    with path.open("rb") as raw, progress.task("reading word vectors", path.stat().st_size) as work:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
        number = done = 0
        while line := _read_line(file, path, number + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if number % 1000 == 0:
                done, before = raw.tell(), done
                work.advance(done - before)
            yield number, line.rstrip(b" \r\n")  # word2vec ends its lines with a space


def _read_line(file: IO[bytes] | gzip.GzipFile, path: Path, number: int) -> bytes:
    try:
        line = file.readline(MAX_LINE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFileError(path, f"line {number:,}: the compressed data is damaged or cut off ({error}).") from None
    if len(line) == MAX_LINE:
        raise BadFileError(path, f"line {number:,} is longer than {MAX_LINE >> 10:,} KiB.", hint=HINT)
    return line


def _parse(parts: list[bytes], width: int, where: str, path: Path) -> tuple[str, Rows]:
    """The word and the vector in a line that was split at its spaces; some words of GloVe's hold spaces."""
    if len(parts) <= width or not parts[0]:
        raise BadFileError(path, f"{where} has not a word and {width:,} numbers.", hint=HINT)
    try:
        word = b" ".join(parts[:-width]).decode()
    except UnicodeDecodeError:
        raise BadFileError(path, f"{where} is not UTF-8 text.", hint=HINT) from None
    try:
        with np.errstate(over="ignore"):  # it is infinite then, and refused
            row = np.array([float(part) for part in parts[-width:]], dtype=np.float32)
    except ValueError:
        raise BadFileError(path, f"{where} holds something that is not a number.", hint=HINT) from None
    if not np.isfinite(row).all():
        raise BadFileError(path, f"{where} holds a number that is not finite.")
    if len(parts) > width + 1:
        with contextlib.suppress(ValueError):
            float(parts[-width - 1])
            raise BadFileError(path, f"{where} has more than {width:,} numbers.", hint=HINT)
    return word, row


def spellings(tokenizer: Tokenizer) -> list[str]:
    """What each piece of the vocabulary spells, without the space that marks the beginning of a word.

    "" for special tokens, and for bytes that are only a part of a character.
    """
    special = set(tokenizer.specials.values())
    found = []
    for number in range(tokenizer.vocab_size):
        data = b"" if number in special else tokenizer.decode_bytes([number]).removeprefix(b" ")
        try:
            found.append(data.decode())
        except UnicodeDecodeError:
            found.append("")
    return found


def rows_for(tokenizer: Tokenizer, vectors: Vectors, *, width: int, spread: float) -> tuple[Rows, NDArray[np.bool_]]:
    """A row for each piece of the vocabulary, float32 (V, width), and which pieces have one: bool (V,). The others are 0.

    A piece takes the vector of the word that it spells, else of that word in lower case; the numbers get the standard deviation
    `spread`, that of a fresh embedding.
    """
    places = {word: place for place, word in enumerate(vectors.words)}
    chosen = np.array([places.get(word, places.get(word.lower(), -1)) for word in spellings(tokenizer)], dtype=np.int64)
    return _spread_out(vectors.rows[chosen[chosen >= 0]], chosen >= 0, width=width, spread=spread)


def train_vectors(
    documents: Sequence[Sequence[int] | NDArray[np.integer[Any]]],
    *,
    vocab_size: int,
    width: int,
    seed: int,
    spread: float,
    window: int = 5,
    epochs: int = 5,
    min_count: int = 5,
) -> tuple[Rows, NDArray[np.bool_]]:
    """Skip-gram with negative sampling (word2vec) over pieces: each is to tell those up to `window` places from it.

    Gives what `rows_for` gives; pieces that occur less than `min_count` times have no row. The same `seed` gives the same numbers:
    gensim works on one thread for that.
    """
    try:
        from gensim.models import Word2Vec  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtraError("Training word vectors", extra="vectors", package="gensim") from None
    counts = np.zeros(vocab_size, dtype=np.int64)
    for document in documents:
        ids = np.asarray(document, dtype=np.int64)
        if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
            raise ValueError(f"ids must be from 0 to {vocab_size - 1:,}; these are from {ids.min():,} to {ids.max():,}")
        counts += np.bincount(ids, minlength=vocab_size)
    if not (counts >= min_count).any():
        raise UsageError(f"No piece of the text occurs {min_count} times, so there is nothing to learn word vectors from.")
    with progress.task("training word vectors", float(counts.sum()) * (epochs + 1)) as work:
        model = Word2Vec(
            sentences=_Pieces(documents, work),
            vector_size=width,
            window=window,
            epochs=epochs,
            min_count=min_count,
            seed=seed % 2**32,
            workers=1,
            sg=1,
            negative=5,
        )
    found = counts >= min_count
    rows = np.array([model.wv.get_vector(number) for number in np.flatnonzero(found).tolist()], dtype=np.float32)
    return _spread_out(rows, found, width=width, spread=spread)


class _Pieces:
    """Documents as gensim reads them, once for the vocabulary and once an epoch: lists of at most `LONGEST` ids."""

    def __init__(self, documents: Sequence[Sequence[int] | NDArray[np.integer[Any]]], work: progress.Task) -> None:
        self.documents, self.work = documents, work

    def __iter__(self) -> Iterator[list[int]]:
        for document in self.documents:
            for start in range(0, len(document), LONGEST):
                piece = [int(number) for number in document[start : start + LONGEST]]
                self.work.advance(len(piece))
                yield piece


def _spread_out(rows_ND: Rows, found_V: NDArray[np.bool_], *, width: int, spread: float) -> tuple[Rows, NDArray[np.bool_]]:
    """Vectors of the pieces that were found as rows of an embedding: (V, width), and which pieces have one.

    Their mean is taken away: it tells no two words apart, and fresh rows have none. Wider vectors keep their first `width` principal
    components, of all projections the one that loses least (Pearson 1901); narrower ones are followed by zeros, for nothing is known
    there. Then all are scaled alike, so that the standard deviation of their numbers is `spread`, that of a fresh embedding: the
    layers above find inputs of the size they were drawn for.
    """
    rows_VD = np.zeros((len(found_V), width), dtype=np.float32)
    centred = rows_ND.astype(np.float64)
    centred -= centred.mean(axis=0) if len(centred) else 0.0
    if centred.shape[1] > width:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, : -width - 1 : -1]
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(width)])  # either direction is an axis; choose one
        centred = centred @ axes
    size = np.sqrt((centred**2).sum() / (max(1, len(centred)) * width))
    if size == 0:  # no word, or all the same
        return rows_VD, np.zeros_like(found_V)
    rows_VD[found_V, : centred.shape[1]] = centred * (spread / size)
    return rows_VD, found_V
