"""What a run reads: its corpora as token shards, the order of their samples, and what it validates on.

Takes: a recipe, a tokenizer, the run's folder.
Gives: `Data`: an order over everything there is, validation documents, digests that a resume compares.
Does not know: models, steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llamarium.ground import progress
from llamarium.ground.errors import RecipeError, UsageError
from llamarium.ground.group import ALONE, Group
from llamarium.text import conversations
from llamarium.text.corpus import Corpus, open_corpus
from llamarium.tokens import shards as token_shards
from llamarium.tokens.examples import encode_examples
from llamarium.tokens.order import Order, Segment, Source
from llamarium.tokens.packing import PackedRows
from llamarium.tokens.shards import Shard, Shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.train.recipe import Recipe

TOKENS = "tokens"
MANY = 5  # bad records that are named one by one


class Scored(NamedTuple):
    """A validation document: its ids, the UTF-8 bytes of what is scored, and where `learns` is 0 what is not (None: all is)."""

    ids: NDArray[Any]
    num_bytes: int
    learns: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Data:
    """Sources in the order of the recipe, and what a run validates on; digests are those that a resume compares."""

    sources: list[Source]
    validation: list[Scored]
    folders: list[Path]  # of token shards, one a source
    digests: list[list[str]]  # of the shards of each source
    validation_digests: list[list[str]]

    def order(self, seed: int, segments: Sequence[Segment] = ()) -> Order:
        """The order of samples, with the shards that each of `segments` names; without any, all there are."""
        return Order(self.sources, seed, segments)


def open_texts(recipe: Recipe) -> list[Corpus] | None:
    """The recipe's corpora, checked; None where it names token shards or conversations, which need no corpus."""
    if recipe.train.objective == "sft" or any(_has_tokens(part.path) for part in recipe.data.corpus):
        return None
    return [open_corpus(part.path) for part in recipe.data.corpus]


def load(
    recipe: Recipe,
    texts: list[Corpus] | None,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    begun: bool,
    stop_ids: frozenset[int] = frozenset(),
    group: Group = ALONE,
) -> Data:
    """Open the tokens of the run in `folder`, making them where it has none; in a group the first process makes them for all.

    With ``data.grow`` documents that have joined a corpus since become new shards behind those that are there.
    """
    places = [folder / TOKENS if len(recipe.data.corpus) == 1 else folder / TOKENS / f"{n:02d}" for n in range(len(recipe.data.corpus))]
    for number, part in enumerate(recipe.data.corpus):
        if _has_tokens(part.path):
            places[number] = part.path
    with group.together():
        if group.is_first:
            for number, (part, place) in enumerate(zip(recipe.data.corpus, places, strict=True)):
                if _has_tokens(part.path):
                    continue
                if not begun or not _has_tokens(place):
                    _make(recipe, part.path, None if texts is None else texts[number], tokenizer, place=place, stop_ids=stop_ids)
                elif texts is not None:
                    _notice_growth(texts[number], tokenizer, place, grow=recipe.data.grow)
    opened = []
    with group.together():
        for place in places:
            shards = token_shards.read_shards(place, verify=group.is_first)
            if shards.tokenizer_sha256 != tokenizer.sha256:
                raise UsageError(
                    f"The tokens in {place} were made with another tokenizer than {tokenizer.name}.",
                    hint="Put back, or name, the tokenizer they were made with.",
                )
            opened.append(shards)
        sources = [
            Source(
                PackedRows(token_shards.require_split(shards, "train"), recipe.train.sequence_length, how=_packing(recipe)),
                part.weight,
                part.max_epochs,
                part.path.name,
            )
            for part, shards in zip(recipe.data.corpus, opened, strict=True)
        ]
    return Data(
        sources,
        _validation(opened, num_tokens=recipe.train.validation_tokens, seed=recipe.seed),
        places,
        [list(source.rows.digests) for source in sources],
        [[_scored_digest(shard) for shard in shards.splits.get("valid", [])] for shards in opened],
    )


def _packing(recipe: Recipe) -> str:
    """Answers are learnt from whole conversations, never from the middle of one."""
    return "best_fit" if recipe.train.objective == "sft" else recipe.data.packing


def _has_tokens(folder: Path) -> bool:
    return (folder / token_shards.INDEX).is_file()


def _make(recipe: Recipe, source: Path, corpus: Corpus | None, tokenizer: Tokenizer, *, place: Path, stop_ids: frozenset[int]) -> None:
    if recipe.train.objective == "sft":
        _make_examples(source, tokenizer, place, max_tokens=recipe.train.sequence_length + 1, stop_ids=stop_ids)
        return
    if corpus is None:
        raise RecipeError("data.corpus: token shards and corpora cannot be mixed.", hint="Prepare them all, or tokenize them all.")
    splits = {split: ((document.id, document.text) for document in corpus.documents(split)) for split in ("train", "valid")}
    token_shards.write_shards(place, splits, tokenizer, totals={split: corpus.num_documents(split) for split in splits})


def _make_examples(source: Path, tokenizer: Tokenizer, place: Path, *, max_tokens: int, stop_ids: frozenset[int]) -> None:
    """Conversations as tokens; what could not be used is named and counted."""
    found = conversations.read_conversations(source)
    for bad in found.bad[:MANY]:
        progress.say(f"{bad.source}, record {bad.line}, is passed over: {bad.reason}")
    if len(found.bad) > MANY:
        progress.say(f"… and {len(found.bad) - MANY:,} more: records {', '.join(str(bad.line) for bad in found.bad[MANY : MANY + 20])} …")
    splits: dict[str, list[token_shards.Example]] = {}
    for split, side in zip(("train", "valid"), conversations.split(found.good), strict=True):
        shown = progress.track((conversation.messages for conversation in side), f"reading {split}", len(side))
        if not side:
            splits[split] = []
            continue
        made = encode_examples(shown, tokenizer, max_tokens=max_tokens, stop_ids=stop_ids)
        splits[split] = made.examples
        progress.say(
            f"{split}: {len(made.examples):,} examples from {len(side):,} conversations; {made.truncated:,} cut at {max_tokens:,} tokens, "
            f"{made.dropped:,} dropped because no answer was left, {made.refused:,} refused by the chat template"
        )
    token_shards.write_examples(place, splits, tokenizer)


def _notice_growth(corpus: Corpus, tokenizer: Tokenizer, place: Path, *, grow: bool) -> None:
    """Documents that the corpus has and the run has not: they join, or it is said that they could."""
    shards = token_shards.read_shards(place)
    known = [shards.document_ids(split) for split in ("train", "valid")]
    if None in known:
        return
    seen = set[str]().union(*(ids for ids in known if ids is not None))
    fresh = {split: sum(document.id not in seen for document in corpus.documents(split)) for split in ("train", "valid")}
    if not any(fresh.values()):
        return
    if not grow:
        progress.say(f"{corpus.folder} has {sum(fresh.values()):,} documents that this run does not know; data.grow=true lets them join.")
        return

    def joining(split: str) -> Iterator[tuple[str, str]]:
        return ((document.id, document.text) for document in corpus.documents(split) if document.id not in seen)

    token_shards.read_shards(place, verify=True)  # what is refused is left as it is
    token_shards.append_shards(place, {split: joining(split) for split in fresh}, tokenizer, totals=fresh)
    progress.say(f"{fresh['train']:,} documents join the training, {fresh['valid']:,} the validation.")


def _validation(opened: Iterable[Shards], *, num_tokens: int, seed: int) -> list[Scored]:
    """Whole validation documents in a shuffled order, up to about `num_tokens`."""
    everything = [(shard, number) for shards in opened for shard in shards.splits.get("valid", []) for number in range(len(shard))]
    chosen: list[Scored] = []
    total = 0
    for place in np.random.Generator(np.random.PCG64(seed)).permutation(len(everything)):
        shard, number = everything[place]
        ids = np.asarray(shard.document(number))
        if chosen and total + len(ids) > num_tokens:
            continue
        start, stop = int(shard.offsets[number]), int(shard.offsets[number + 1])
        learns = None if shard.learns is None else np.asarray(shard.learns[start:stop])
        chosen.append(Scored(ids, int(shard.num_bytes[number]), learns))
        total += len(ids)
    return chosen


def _scored_digest(shard: Shard) -> str:
    """SHA-256 of a shard and of the bytes that it is scored by."""
    return hashlib.sha256(shard.digest.encode() + shard.num_bytes.tobytes()).hexdigest()


def write_state(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Segments as JSON can hold them."""
    return [{"start": segment.start, "shards": [int(count) for count in segment.shards]} for segment in segments]


def read_state(values: Sequence[dict[str, Any]]) -> list[Segment]:
    """The inverse of `write_state`."""
    return [Segment(each["start"], list(each["shards"])) for each in values]
