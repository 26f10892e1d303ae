"""Near-duplicate removal beside datasketch, datatrove and rensa: from Parquet to what is to go, interleaved, two processes each.

Copies are planted in the collection: 1, 2, 5 % of the characters edited at random places, or one span of 5, 10, 20 % replaced. Of each
planted pair the true Jaccard resemblance of its 5-grams is computed from sets of strings. Printed: documents a second, and for each
contender how many of the pairs with J >= 0.8 it found (at least one of both goes), and how many of what it drops has such a partner:
ours is checked on sets of strings group by group, the others beside ours, which are groups that were checked.

python -m bench near FILE... [--column text] [--limit N] [--copies 300 (of each kind)] [--rounds 3] [--seed 1]
                     [--without NAME ...] [--datatrove PYTHON]      FILE: .parquet or .jsonl; PYTHON: one that has datatrove

128 hashes, 32 bands of 4. The peers at their best: datasketch in bulk, with a fast hash (CRC-32, and its own mixing) and without storing
pickles; rensa's full-set digests on two threads and its one-shot index, its words hashed by its own function; datatrove with xxhash and
without a word tokenizer (`bench/_datatrove.py`). Pools, imports and interpreters are warm. The others verify nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench._interleaved import interleaved

WORKERS = 2
NUM_FILES = 8
HASHES, BANDS, ROWS = 128, 32, 4
THRESHOLD = 0.8
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("near: name a collection, .parquet or .jsonl")
        return
    parser = argparse.ArgumentParser(prog="python -m bench near")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--column", default="text")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", nargs="+", default=[])
    parser.add_argument("--datatrove", type=Path)
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="bench-near-"))
    try:
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            _compare(given, folder, pool)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Collection:
    """Texts with planted copies, shuffled; written to `folder`. `planted`: original, copy, kind, true resemblance."""

    folder: Path
    texts: list[str]
    planted: list[tuple[int, int, str, float]] = field(default_factory=list)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))


def _compare(given: argparse.Namespace, folder: Path, pool: Executor) -> None:
    collection = make(
        list(itertools.islice(itertools.chain.from_iterable(read(f, given.column) for f in given.files), given.limit)), folder, given
    )
    contenders: dict[str, Callable[[], np.ndarray]] = {
        "llamarium": lambda: ours(collection, folder / "ours", pool),
        "datasketch": lambda: datasketch(collection, pool),
        "rensa": lambda: rensa(collection, pool),
    }
    peer = None
    if given.datatrove:
        peer = subprocess.Popen(
            [str(given.datatrove), str(Path(__file__).with_name("_datatrove.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        contenders["datatrove"] = lambda: datatrove(collection, folder / "datatrove", peer)
    dropped: dict[str, np.ndarray] = {}

    def timed(name: str) -> Callable[[], float]:
        def run() -> float:
            dropped[name] = contenders[name]()
            return len(collection.texts)

        return run

    num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in collection.texts)
    try:
        rates = interleaved(
            f"near: {len(collection.texts):,} documents, {num_bytes / 1e6:.1f} MB",
            {name: timed(name) for name in contenders if name not in given.without},
            unit="documents/s",
            rounds=given.rounds,
        )
    finally:
        if peer is not None:
            peer.kill()
            peer.wait()
    print("  seconds: " + ", ".join(f"{name} {len(collection.texts) / rate:.2f}" for name, rate in rates.items()))
    judge(collection, dropped, folder / "ours")


# The collection


def read(path: Path, column: str) -> Iterator[str]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        for batch in parquet.ParquetFile(path).iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()
    else:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)[column]


def make(texts: list[str], folder: Path, given: argparse.Namespace) -> Collection:
    import pyarrow
    from pyarrow import parquet

    source = random.Random(given.seed)
    long_enough = [number for number, text in enumerate(texts) if len(_WORD.findall(text)) >= 10]
    characters = "".join(texts[number] for number in source.sample(long_enough, min(200, len(long_enough))))
    made: list[tuple[str, int, str]] = [(text, number, "") for number, text in enumerate(texts)]
    for way, share in ((edit, 0.01), (edit, 0.02), (edit, 0.05), (span, 0.05), (span, 0.1), (span, 0.2)):
        for number in source.sample(long_enough, min(given.copies, len(long_enough))):
            made.append((way(texts[number], share, characters, source), number, f"{way.__name__} {share:.0%}"))
    source.shuffle(made)
    place = {number: index for index, (_, number, kind) in enumerate(made) if not kind}
    collection = Collection(folder / "collection", [text for text, _, _ in made])
    for index, (text, number, kind) in enumerate(made):
        if kind:
            collection.planted.append((place[number], index, kind, jaccard(grams(texts[number]), grams(text))))
    collection.folder.mkdir()
    for number, (start, end) in enumerate(itertools.pairwise(np.linspace(0, len(made), NUM_FILES + 1).astype(int).tolist())):
        parquet.write_table(
            pyarrow.table({"text": collection.texts[start:end]}), collection.folder / f"{number:03d}.parquet", compression="zstd"
        )
    return collection


def edit(text: str, share: float, characters: str, source: random.Random) -> str:
    """Characters at random places are others."""
    letters = list(text)
    for place in source.sample(range(len(letters)), max(1, round(share * len(letters)))):
        letters[place] = source.choice(characters)
    return "".join(letters)


def span(text: str, share: float, characters: str, source: random.Random) -> str:
    """One piece is a piece of other texts."""
    length = max(1, round(share * len(text)))
    start, other = source.randrange(len(text) - length + 1), source.randrange(max(1, len(characters) - length))
    return text[:start] + characters[other : other + length] + text[start + length :]


def grams(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))} if words else set()


def jaccard(left: set[Any], right: set[Any]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared) if left or right else 0.0


# The contenders: each gives what goes, as an array of truth values, one a document


def texts_of(path: Path) -> list[str]:
    from pyarrow import parquet

    return parquet.read_table(path, columns=["text"])["text"].to_pylist()


def _sketch(path: Path, out: Path) -> list[int]:
    from llamarium.text.near import sketch

    texts = texts_of(path)
    sketch(texts).save(out)
    return [len(text) for text in texts]


def ours(collection: Collection, work: Path, pool: Executor) -> np.ndarray:
    from llamarium.text.near import Sketch, near_duplicates

    files = collection.files()
    folders = [work / path.stem for path in files]
    lengths = list(itertools.chain.from_iterable(pool.map(_sketch, files, folders)))
    chosen = near_duplicates([Sketch.open(folder) for folder in folders], lengths, threshold=THRESHOLD)
    np.save(work / "chosen.npy", chosen)
    return chosen != np.arange(len(chosen))


def _tokens(text: str) -> list[str]:
    """The shingles of a text, as strings: the cheapest way there is, which is other for texts of characters than for texts of words."""
    words = _WORD.findall(text.lower())
    if len(words) < 5:
        return [" ".join(words)] if words else []
    if sum(map(len, words)) == len(words):
        joined = "".join(words)
        return [joined[start : start + 5] for start in range(len(joined) - 4)]
    return list(map(" ".join, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)))


def _datasketch(path: Path) -> np.ndarray:
    from datasketch import MinHash

    tokens = [[token.encode("utf-8", "surrogatepass") for token in _tokens(text)] for text in texts_of(path)]
    found = MinHash.bulk(tokens, num_perm=HASHES, hashfunc=zlib.crc32)
    return np.stack([one.hashvalues for one in found])


def datasketch(collection: Collection, pool: Executor) -> np.ndarray:
    from datasketch import LeanMinHash, MinHash, MinHashLSH

    scheme = MinHash(num_perm=HASHES).scheme
    nothing = MinHash(num_perm=HASHES).hashvalues
    index = MinHashLSH(num_perm=HASHES, params=(BANDS, ROWS), prepickle=False)
    dropped = []
    for number, values in enumerate(itertools.chain.from_iterable(pool.map(_datasketch, collection.files()))):
        if np.array_equal(values, nothing):  # no shingles
            dropped.append(False)
            continue
        one = LeanMinHash(seed=1, hashvalues=values, scheme=scheme)
        dropped.append(bool(index.query(one)))
        index.insert(number, one, check_duplication=False)
    return np.array(dropped)


def _rensa(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from rensa import RMinHash

    hashes = RMinHash.hash_token_sets([_tokens(text) for text in texts_of(path)])
    return np.fromiter(itertools.chain.from_iterable(hashes), dtype=np.uint64), np.fromiter(map(len, hashes), dtype=np.int64)


def rensa(collection: Collection, pool: Executor) -> np.ndarray:
    from rensa import RMinHash, RMinHashLSH

    parts = list(pool.map(_rensa, collection.files()))
    sizes = np.concatenate([sizes for _, sizes in parts])
    some = np.flatnonzero(sizes)  # to it, all empty texts are the same
    offsets = np.concatenate([[0], np.cumsum(sizes[some])]).astype(np.uint64)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate([hashes for hashes, _ in parts]), offsets, HASHES, 42)
    dropped = np.zeros(len(sizes), dtype=bool)
    dropped[some] = RMinHashLSH(THRESHOLD, HASHES, BANDS).query_duplicate_flags_matrix_one_shot(digests)
    return dropped


def datatrove(collection: Collection, work: Path, peer: subprocess.Popen[bytes]) -> np.ndarray:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(json.dumps({"folder": str(collection.folder), "work": str(work)}).encode() + b"\n")
    peer.stdin.flush()
    answer = json.loads(peer.stdout.readline() or b"null")
    if answer is None:
        sys.exit("near: datatrove gave up; run bench/_datatrove.py by hand to see why")
    from pyarrow import parquet

    counts = [parquet.read_metadata(path).num_rows for path in collection.files()]
    starts = np.concatenate([[0], np.cumsum(counts)])
    dropped = np.zeros(len(collection.texts), dtype=bool)
    for task in range(answer["tasks"]):
        numbers = np.concatenate([np.arange(starts[file], starts[file + 1]) for file in range(task, len(counts), answer["tasks"])])
        path = work / "remove" / f"{task:06d}.remove"
        if path.is_file():
            dropped[numbers[np.fromfile(path, dtype="<u4")]] = True
    return dropped


# The judgement


def judge(collection: Collection, dropped: dict[str, np.ndarray], work: Path) -> None:
    kinds = sorted({kind for _, _, kind, _ in collection.planted})
    print(f"  planted pairs with J >= {THRESHOLD}, found: " + ", ".join(kinds) + "; all; what goes, and of that with a partner")
    chosen = np.load(work / "chosen.npy") if (work / "chosen.npy").is_file() else None
    in_group = np.bincount(chosen, minlength=len(chosen))[chosen] > 1 if chosen is not None else None
    for name, gone in dropped.items():
        shares = []
        total = [0, 0]
        for kind in kinds:
            near = [(first, second) for first, second, its, exact in collection.planted if its == kind and exact >= THRESHOLD]
            found = sum(bool(gone[first] or gone[second]) for first, second in near)
            total = [total[0] + found, total[1] + len(near)]
            shares.append(f"{found}/{len(near)}")
        right = f"{np.mean(in_group[gone]):.4f}" if in_group is not None and gone.any() else "-"
        if name == "llamarium" and chosen is not None:
            right = f"{precision(collection.texts, chosen):.4f} (groups checked on sets of strings)"
        print(f"  {name:12} {'  '.join(shares)}   {total[0] / max(1, total[1]):.4f} of {total[1]:,}   {int(gone.sum()):,}  {right}")


def precision(texts: Sequence[str], chosen: np.ndarray) -> float:
    """Of what goes, how much is connected with what stands for it by pairs whose true resemblance is at least the threshold."""
    members: dict[int, list[int]] = {}
    for number in np.flatnonzero(np.bincount(chosen, minlength=len(chosen))[chosen] > 1).tolist():
        members.setdefault(int(chosen[number]), []).append(number)
    right = total = 0
    for stands, group in members.items():
        sets = {number: grams(texts[number]) for number in group}
        reached, waiting = [stands], set(group) - {stands}
        for number in reached:
            new = [other for other in waiting if jaccard(sets[number], sets[other]) >= THRESHOLD]
            reached += new
            waiting.difference_update(new)
        right += len(reached) - 1
        total += len(group) - 1
    return right / max(1, total)
