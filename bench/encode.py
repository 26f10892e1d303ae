"""A corpus to token shards, end to end, beside what the tokenizers library reaches alone on the same cores.

Ours reads Parquet, encodes, makes arrays of ids, hashes and writes; the library gets the same texts as a list in memory and gives
back its own objects, from which nobody has taken an id yet.

python -m bench encode CORPUS [--tokenizer DIR | --vocab-size 8192] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import tokenizers

from bench._interleaved import ROUNDS, interleaved


def main(arguments: list[str] | None = None) -> None:
    from llamarium.text.corpus import open_corpus
    from llamarium.tokens.shards import write_shards
    from llamarium.tokens.tokenizer import Tokenizer
    from llamarium.tokens.train import train_bpe

    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("encode: name a corpus that `llamarium prepare` made")
        return
    parser = argparse.ArgumentParser(prog="python -m bench encode")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)

    corpus = open_corpus(given.corpus)
    texts = [document.text for document in corpus.documents("train")]
    tokenizer = Tokenizer.load(given.tokenizer) if given.tokenizer else train_bpe(texts, vocab_size=given.vocab_size)
    rust = tokenizers.Tokenizer.from_str(tokenizer.definition)
    megabytes = corpus.num_bytes("train") / 1e6

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            documents = ((document.id, document.text) for document in corpus.documents("train"))
            write_shards(Path(folder), {"train": documents}, tokenizer)
        return megabytes

    def alone(encode: Callable[..., object]) -> Callable[[], float]:
        def run() -> float:
            encode(texts, add_special_tokens=False)
            return megabytes

        return run

    print(f"{len(texts):,} documents, {megabytes:.1f} MB, {tokenizer.vocab_size:,} tokens, {os.cpu_count()} cores")
    contenders = {
        "ours, Parquet to shards": ours,
        "encode_batch alone": alone(rust.encode_batch),
        "encode_batch_fast alone": alone(rust.encode_batch_fast),
    }
    interleaved("encode", contenders, unit="MB/s", rounds=given.rounds)
