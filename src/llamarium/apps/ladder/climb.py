"""Climbing: every rung is trained on the same tokens for the same time, and judged on the same documents.

Takes: a corpus, minutes for everything (or tokens for each), a folder.
Gives: a tokenizer, a run for each rung and ``ladder.json`` in the folder; a rung that is done is not climbed again.
Does not know: how it is shown.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llamarium.apps.ladder import catalogue
from llamarium.apps.ladder.rungs import RUNGS, Rung, describe
from llamarium.checkpoint.open import Opened, open_model
from llamarium.engine.generate import generate
from llamarium.engine.sample import Sampling
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.evaluate.compressors import compressed_bits_per_byte
from llamarium.ground import files
from llamarium.ground.device import fast_dtype, num_threads, pick_device
from llamarium.ground.errors import ExistsError, LlamariumError, UsageError
from llamarium.ground.progress import duration, say
from llamarium.models import ngram
from llamarium.text.corpus import Corpus
from llamarium.text.document import Document
from llamarium.tokens import shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import train_bpe
from llamarium.train import finish, loop
from llamarium.train.data import Scored
from llamarium.train.fit import fit
from llamarium.train.log import read as read_log
from llamarium.train.recipe import Recipe
from llamarium.train.run import LOG, Run, start
from llamarium.train.validate import validate

RESULTS, TOKENIZER, TOKENS, READER = "ladder.json", "tokenizer", "tokens", "reader"
POINTS = (0.04, 0.1, 0.2, 0.35, 0.5, 0.75)  # shares of a rung's time at which it is judged on its way, beside its end
VALIDATION_BYTES = 300_000  # at most
SCORING = 1 / 15  # share of the time for scoring the catalogue's model once
OVERHEAD = 7.0  # seconds that a rung takes beside its time: building, the last validation, a sample, saving
SAMPLE_TOKENS = 80


@dataclass
class Ladder:
    """One ladder under way. `minutes` are for everything; with `tokens`, each network learns from so many instead."""

    corpus: Corpus
    out: Path
    minutes: float = 10.0
    tokens: int | None = None
    size: str = "1M"
    vocab_size: int = 0  # 0: by the size of the corpus
    seeds: int = 1
    catalogue: str | None = "smollm2-135m-instruct"
    rungs: tuple[Rung, ...] = RUNGS
    began: float = field(default_factory=time.perf_counter)
    results: dict[str, Any] = field(default_factory=dict)

    def climb(self, *, resume: bool = False) -> dict[str, Any]:
        """All rungs; what `ladder.json` holds at the end."""
        self.begin(resume=resume)
        tokenizer = self.tokenizer()
        documents = self.validation()
        self.references(documents)
        self.share_time()
        jobs = [(rung, seed) for rung in self.rungs for seed in range(1, 1 + (self.seeds if rung.seeds else 1))]
        left = sum(not rung.counts for rung, _ in jobs) + (self.results["catalogue"] is not None)
        for rung, seed in jobs:
            say(self._eta(rung.name if seed == 1 else f"{rung.name}, seed {seed}", left))
            self.rung(rung, seed, tokenizer, documents)
            left -= not rung.counts
        if self.results["catalogue"] is not None:
            say(self._eta(f"{self.catalogue} reads", left))
            self.read(documents)
        self.results["done"] = True
        self.save()
        return self.results

    # --- beginning, or going on ---

    def begin(self, *, resume: bool) -> None:
        """An empty folder, or the results so far of a ladder with the same settings."""
        settings: dict[str, Any] = {
            "corpus": str(self.corpus.folder.resolve()),
            "minutes": self.minutes,
            "tokens": self.tokens,
            "size": self.size,
            "vocab_size": self.vocab_size or (2048 if self.corpus.num_bytes("train") < 4_000_000 else 4096),
            "seeds": self.seeds,
            "catalogue": self.catalogue,
            "rungs": [rung.key for rung in self.rungs],
        }
        there = self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir()))
        if there and not resume:
            raise ExistsError(f"{self.out} exists.", hint="Go on with --resume, or name another folder with --out.")
        if there:
            if not (self.out / RESULTS).is_file():
                raise ExistsError(f"{self.out} exists and is no ladder.", hint="Name another folder with --out.")
            self.results = files.read_json(self.out / RESULTS)
            then = self.results["settings"]
            if changed := [key for key in settings if settings[key] != then.get(key)]:
                raise UsageError(
                    f"{self.out} was begun with another {changed[0]} ({then.get(changed[0])}).", hint="Give it the same settings."
                )
        else:
            device = pick_device("auto")
            self.results = {
                "settings": settings,
                "machine": {
                    "threads": num_threads(),
                    "torch": torch.__version__,
                    "precision": str(fast_dtype(device)).removeprefix("torch."),
                },
                "references": [],
                "rungs": [],
                "catalogue": None if self.catalogue is None else {"name": self.catalogue},
                "done": False,
            }
            self.save()
        self.vocab_size = settings["vocab_size"]

    def save(self) -> None:
        """Write down what is known."""
        files.write_json(self.out / RESULTS, self.results)

    def _eta(self, name: str, left: int) -> str:
        seconds = self.results.get("seconds_a_rung")
        return f"{name}: {left} trained rungs to go" + (f", about {duration(left * (seconds + OVERHEAD))}." if seconds else ".")

    def _done(self, kind: str, key: str) -> bool:
        return any(entry["key"] == key for entry in self.results[kind])

    # --- what all rungs share ---

    def tokenizer(self) -> Tokenizer:
        """A vocabulary learnt from the text, and the text's tokens."""
        place = self.out / TOKENIZER
        if not (self.out / TOKENS / shards.INDEX).is_file():
            say(f"A vocabulary of {self.vocab_size:,} pieces is learnt …")
            train_bpe((document.text for document in self.corpus.documents("train")), vocab_size=self.vocab_size).save(place)
            splits = {split: ((each.id, each.text) for each in self.corpus.documents(split)) for split in ("train", "valid")}
            totals = {split: self.corpus.num_documents(split) for split in splits}
            shards.write_shards(self.out / TOKENS, splits, Tokenizer.load(place), totals=totals)
        return Tokenizer.load(place)

    def validation(self) -> list[Document]:
        """Documents that everything is judged on: as many as the catalogue's model can score in its share of the time."""
        documents = list(self.corpus.documents("valid"))
        if "validation_bytes" not in self.results:
            budget = VALIDATION_BYTES
            if self.catalogue is not None and self._find_catalogue(documents):
                rate = self.results["catalogue"].pop("bytes_per_second")
                budget = int(min(budget, max(8_000, rate * SCORING * 60 * self.minutes)))
            self.results["validation_bytes"] = budget
        chosen: list[Document] = []
        total = 0
        for place in np.random.Generator(np.random.PCG64(1)).permutation(len(documents)):
            size = len(documents[place].text.encode("utf-8", "surrogatepass"))
            if not chosen or total + size <= self.results["validation_bytes"]:
                chosen.append(documents[place])
                total += size
        if not total:
            raise UsageError(f"{self.corpus.folder} has no text to judge by.", hint="`llamarium prepare` sets some aside.")
        self.results["validation"] = {"documents": len(chosen), "bytes": total}
        return chosen

    def _find_catalogue(self, documents: list[Document]) -> bool:
        """Whether the catalogue's model can be had; then how fast it scores is measured."""
        assert self.catalogue is not None
        try:
            opened = open_model(self.catalogue, dtype=torch.float32, device=pick_device("auto"))
        except LlamariumError as error:
            self.results["catalogue"] = None
            self.results["catalogue_missing"] = f"{error.message} {error.hint}".strip()
            say(self.results["catalogue_missing"])
            return False
        began = time.perf_counter()
        sample = " ".join(document.text for document in documents)[:4000]
        bits_per_byte(opened.model, opened.tokenizer, [sample], autocast=self.autocast, name="measuring")
        seconds = time.perf_counter() - began
        self.results["catalogue"] |= {
            "parameters": opened.model.num_parameters(),
            "bytes_per_second": len(sample.encode("utf-8", "surrogatepass")) / seconds,
        }
        return True

    @property
    def autocast(self) -> torch.dtype | None:
        """The number type to compute in, None for float32."""
        name = self.results["machine"]["precision"]
        return None if name == "float32" else getattr(torch, name)

    def references(self, documents: list[Document]) -> None:
        """Compressors, because a reader understands those."""
        texts = b"".join(document.text.encode("utf-8", "surrogatepass") for document in documents)
        train = b"".join(document.text.encode("utf-8", "surrogatepass") for document in self.corpus.documents("train"))
        for method in ("gzip", "xz"):
            if not self._done("references", method):
                began = time.perf_counter()
                bits = compressed_bits_per_byte(train, texts, method=method)
                seconds = time.perf_counter() - began
                self.results["references"].append({"key": method, "name": method, "bits_per_byte": bits, "seconds": round(seconds, 2)})
                self.save()
                say(f"{bits:.4f} bits per byte  {method}")

    def share_time(self) -> None:
        """Divide what is left of the time among the networks: the same wall time for each."""
        if "seconds_a_rung" in self.results or self.tokens is not None:
            return
        num = sum(self.seeds if rung.seeds else 1 for rung in self.rungs if not rung.counts)
        fixed = OVERHEAD * num
        catalogue_ = self.results["catalogue"]
        if catalogue_ is not None:
            num += 1
            fixed += OVERHEAD + 2 * SCORING * 60 * self.minutes
        left = 60 * self.minutes - (time.perf_counter() - self.began) - fixed
        self.results["seconds_a_rung"] = max(2.0, left / max(1, num))
        self.save()
        say(f"{num} rungs are trained for {duration(self.results['seconds_a_rung'])} each.")

    # --- the rungs ---

    def rung(self, rung: Rung, seed: int, tokenizer: Tokenizer, documents: list[Document]) -> None:
        """Train one rung from one seed, or go on with it."""
        length: dict[str, float | int] = (
            {"tokens": self.tokens} if self.tokens is not None else {"minutes": self.results.get("seconds_a_rung", 1) / 60}
        )
        described = describe(
            rung,
            tokens=self.out / TOKENS,
            tokenizer=self.out / TOKENIZER,
            vocab_size=tokenizer.vocab_size,
            size=self.size,
            seed=seed,
            length=length,
            precision=self.results["machine"]["precision"],
            compiled=True,
        )
        if self._done("rungs", described.name):
            return
        result = self._count(described) if rung.counts else self._train(described, tokenizer, documents)
        opened = open_model(self.out / described.name)
        if rung.counts:
            assert isinstance(opened.model, ngram.Model)
            texts = [document.text for document in documents]
            result |= {
                "parameters": opened.model.num_grams(),
                "bits_per_byte": bits_per_byte(opened.model, tokenizer, texts).bits_per_byte,
            }
        entry = {"key": described.name, "rung": rung.key, "name": rung.name, "adds": rung.adds, "family": rung.family, "seed": seed}
        self.results["rungs"].append({**entry, **result, "sample": sample(opened)})
        self.save()
        say(f"{result['bits_per_byte']:.4f} bits per byte  {rung.name}")

    def _count(self, described: Recipe) -> dict[str, Any]:
        fit(described, self.out / described.name, resume=True)
        (line,) = (line for line in read_log(self.out / described.name / LOG) if line.get("event") == "fitted")
        return {"seconds": line["detail"]["seconds"], "tokens": line["detail"]["tokens"], "curve": []}

    def _train(self, described: Recipe, tokenizer: Tokenizer, documents: list[Document]) -> dict[str, Any]:
        run = start(described, self.out / described.name, resume=True)
        texts = [document.text for document in documents]
        run.validation = [
            Scored(np.array([tokenizer.begin_id, *ids, tokenizer.end_id]), len(text.encode("utf-8", "surrogatepass")))
            for ids, text in zip(tokenizer.encode_batch(texts), texts, strict=True)
        ]
        due = [point for point in POINTS if point > run.share()]

        def watch(run: Run, _: loop.Line) -> None:
            """Judge it at certain moments; the log keeps that, so that a resumed rung has its whole curve."""
            if not due or run.share() < due[0] or run.ended:
                return
            while due and run.share() >= due[0]:
                due.pop(0)
            run.log.event(run.step, "rung", {"seconds": round(run.seconds, 3), "bits_per_byte": validate(run)})

        finish.train_to_the_end(run, after_step=watch)
        lines = read_log(run.folder / LOG)
        curve = [[line["detail"]["seconds"], line["detail"]["bits_per_byte"]] for line in lines if line.get("event") == "rung"]
        last = next(line for line in reversed(lines) if "bits_per_byte" in line)
        curve.append([last["seconds"], last["bits_per_byte"]])
        return {
            "parameters": run.model.num_parameters(),
            "seconds": last["seconds"],
            "tokens": last["tokens"],
            "bits_per_byte": last["bits_per_byte"],
            "curve": curve,
        }

    def read(self, documents: list[Document]) -> None:
        """The catalogue's LLaMA, before and after reading this text for as long as any rung was trained."""
        assert self.catalogue is not None
        found = self.results["catalogue"]
        if "after" in found:
            return
        texts = [document.text for document in documents]
        minutes = self.results.get("seconds_a_rung", 60.0) / 60
        precision = self.results["machine"]["precision"]
        run = catalogue.reader(
            self.catalogue, corpus=self.corpus.folder, minutes=minutes, precision=precision, out=self.out / READER, resume=True
        )
        if "before" not in found and run.step == 0:
            before = catalogue.score(run, texts)
            opened = Opened(self.catalogue, run.model.eval(), run.tokenizer, run.tokenizer.stop_ids)
            found |= {"before": before.bits_per_byte, "sample_before": sample(opened)}
            self.save()
            say(f"{before.bits_per_byte:.4f} bits per byte  {self.catalogue}, as it is")
        catalogue.read(run, minutes=minutes)
        after = catalogue.score(run, texts)
        opened = Opened(self.catalogue, run.model, run.tokenizer, run.tokenizer.stop_ids)
        found |= {
            "after": after.bits_per_byte,
            "seconds": round(run.seconds, 3),
            "tokens": run.tokens,
            "sample_after": sample(opened),
        }
        self.save()
        say(f"{after.bits_per_byte:.4f} bits per byte  {self.catalogue}, after reading")


def sample(opened: Opened) -> str:
    """What a rung writes from nothing, always with the same seed."""
    result = generate(
        opened.model,
        opened.tokenizer,
        [opened.tokenizer.begin_id],
        max_tokens=SAMPLE_TOKENS,
        sampling=Sampling(temperature=0.8, top_p=0.95, seed=1),
        stop_ids=opened.stop_ids,
    )
    return result.text


def passed(curve: list[list[float]], level: float) -> float | None:
    """Seconds after which a curve [(seconds, bits per byte), …] is below `level` and stays there, drawn straight between its points.

    >>> passed([[1, 3.0], [3, 2.0]], 2.5), passed([[1, 3.0], [3, 2.0]], 1.0), passed([[1, 3.0]], 4.0)
    (2.0, None, 1)
    """
    above = [place for place, (_, bits) in enumerate(curve) if bits >= level or not math.isfinite(bits)]
    if not above:
        return curve[0][0] if curve else None
    if above[-1] == len(curve) - 1:
        return None
    (x, y), (later, lower) = curve[above[-1]], curve[above[-1] + 1]
    return x + (later - x) * (y - level) / (y - lower) if math.isfinite(y) else later
