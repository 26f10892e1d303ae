"""An n-gram model of a corpus's training part: seconds, memory, number of grams, bits per byte of the validation part.

Tokens are made before the clock starts. Memory is the most that the process has ever held, before counting and after it; a
tokenizer that is trained here may have needed more than counting does, so --tokenizer gives the cleaner figure.

python -m bench ngram CORPUS [--tokenizer DIR | --vocab-size 8192] [--order 5] [--smoothing kneser-ney] [--k 1]
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench._interleaved import processor

BATCH_DOCUMENTS = 1000


def main(arguments: list[str] | None = None) -> None:
    from llamarium.models import ngram
    from llamarium.text.corpus import Corpus, open_corpus
    from llamarium.tokens.tokenizer import Tokenizer
    from llamarium.tokens.train import train_bpe

    arguments = sys.argv[2:] if arguments is None else arguments
    if not arguments:
        print("ngram: name a corpus that `llamarium prepare` made")
        return
    parser = argparse.ArgumentParser(prog="python -m bench ngram")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--smoothing", default="kneser-ney")
    parser.add_argument("--k", type=float, default=1.0)
    given = parser.parse_args(arguments)

    corpus = open_corpus(given.corpus)
    if given.tokenizer:
        tokenizer = Tokenizer.load(given.tokenizer)
    else:
        tokenizer = train_bpe((document.text for document in corpus.documents("train")), vocab_size=given.vocab_size)

    def tokens(corpus: Corpus, split: str) -> Iterator[NDArray[np.uint32]]:
        documents = corpus.documents(split)
        while texts := [document.text for document in itertools.islice(documents, BATCH_DOCUMENTS)]:
            for ids in tokenizer.encode_batch(texts):
                yield np.array([tokenizer.begin_id, *ids, tokenizer.end_id], dtype=np.uint32)

    train, valid = list(tokens(corpus, "train")), list(tokens(corpus, "valid"))
    num_tokens, num_scored = sum(map(len, train)), sum(len(document) - 1 for document in valid)
    config = ngram.Config(vocab_size=tokenizer.vocab_size, order=given.order, smoothing=given.smoothing, k=given.k)
    model = ngram.Model(config)
    before = _peak()
    began = time.perf_counter()
    model.fit(train)
    fitted = time.perf_counter()
    bits = -sum(float(model.log2_prob(document)[1:].sum()) for document in valid)  # nobody predicts the begin token
    scored = time.perf_counter()

    print(f"ngram: {processor()}; {config}")
    print(f"  counted   {num_tokens:,} tokens of {len(train):,} documents in {fitted - began:.1f} s")
    print(f"  memory    {before:.2f} GB before counting, {_peak():.2f} GB at most")
    print(f"  grams     {model.num_grams():,}")
    print(f"  scored    {num_scored:,} tokens of {len(valid):,} documents in {scored - fitted:.1f} s")
    print(f"  validation part: {bits / max(1, corpus.num_bytes('valid')):.4f} bits per byte")


def _peak() -> float:
    """GB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
