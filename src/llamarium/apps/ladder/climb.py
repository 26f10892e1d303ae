"""Climbing: every rung is trained on the same tokens for the same time, and judged on the same documents.

Takes: a corpus, minutes for everything (or tokens for each), a folder.
Gives: a tokenizer, a run for each rung and ``ladder.json`` in the folder; a rung that is done is not climbed again.
Does not know: how it is shown.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from llamarium.apps.ladder import catalogue, pace
from llamarium.apps.ladder.pace import Pace
from llamarium.apps.ladder.rungs import RUNGS, SEQUENCE, Rung, describe
from llamarium.checkpoint.catalogue import exists
from llamarium.checkpoint.open import Opened, open_model
from llamarium.engine.generate import generate
from llamarium.engine.sample import Sampling
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.evaluate.compressors import compressed_bits_per_byte
from llamarium.ground import files
from llamarium.ground.device import fast_dtype, num_threads, pick_device
from llamarium.ground.errors import BadFileError, ExistsError, RecipeError, UsageError
from llamarium.ground.progress import say
from llamarium.models import ngram
from llamarium.models.model import Network
from llamarium.text.corpus import Corpus
from llamarium.tokens import shards
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import SMALLEST, train_bpe
from llamarium.train import build, finish, loop
from llamarium.train.data import Scored
from llamarium.train.fit import fit
from llamarium.train.log import read as read_log
from llamarium.train.recipe import Recipe
from llamarium.train.run import LOG, Run, start
from llamarium.train.validate import validate

RESULTS, TOKENIZER, TOKENS, READER = "ladder.json", "tokenizer", "tokens", "reader"
POINTS = (0.04, 0.1, 0.2, 0.35, 0.5, 0.75)  # shares of a rung's time at which it is judged on its way, beside its end
VALIDATION_BYTES = (16_000, 300_000)  # at least, at most
JUDGING = 1 / 6  # share of the time, at most, for judging all networks as often as they are
PATIENCE = 10.0  # seconds, at most, for judging a network once: who asks to stop waits for it
SCORING = 1 / 15  # and for scoring the catalogue's model once
MEASURED = 4_000  # characters that show how fast a model scores
SAMPLE_TOKENS = 80
COMPILERS = ("c++", "g++", "clang++")


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
    vocabulary: Tokenizer | None = None  # in place of one learnt here
    judged: list[str] | None = None  # texts that everything is judged on, in place of a choice
    compressors: tuple[Literal["gzip", "xz"], ...] = ("gzip", "xz")
    tell: Callable[[str], None] = say
    climbed: Callable[[dict[str, Any]], None] | None = None  # is told of each rung that is done
    results: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    took: list[float] = field(default_factory=list)  # wall seconds of each rung that this process has trained

    def climb(self, *, resume: bool = False) -> dict[str, Any]:
        """All rungs; what ``ladder.json`` holds at the end.

        Interrupted at any moment, or killed, it goes on with `resume` and the same settings where it stood.
        """
        self.begin(resume=resume)
        tokenizer = self.tokenizer()
        texts = self.validation(tokenizer)
        self.references(texts)
        self.share_time()
        for number, (rung, seed) in enumerate(self.jobs, 1):
            described = self.describe(rung, seed)
            if not any(entry["key"] == described.name for entry in self.results["rungs"]):
                self.tell(f"{number} of {len(self.jobs)}: {self.title(rung, seed)}; {self.left(self.jobs[number - 1 :])}.")
                self.rung(rung, described, texts)
        if self.results["catalogue"] is not None and "after" not in self.results["catalogue"]:
            self.tell(f"{self.catalogue} reads; {self.left([])}.")
            self.read(texts)
        self.results["done"] = True
        self.save()
        return self.results

    # --- beginning, or going on ---

    def begin(self, *, resume: bool) -> None:
        """An empty folder, or the results so far of a ladder with the same settings. What cannot come to an end does not begin."""
        for split, what in (("train", "learn from"), ("valid", "judge by")):
            if not self.corpus.num_bytes(split):
                raise UsageError(
                    f"{self.corpus.folder} has no text to {what}.", hint="`llamarium prepare` a larger text: it sets some aside."
                )
        automatic = 1024 if self.corpus.num_bytes("train") < 4_000_000 else 4096
        settings: dict[str, Any] = {
            "corpus": str(self.corpus.folder.resolve()),
            "corpus_sha256": self.corpus.digest,
            "minutes": self.minutes,
            "tokens": self.tokens,
            "size": self.size,
            "vocab_size": self.vocab_size or automatic,
            "seeds": self.seeds,
            "catalogue": self.catalogue,
            "rungs": [rung.key for rung in self.rungs],
        }
        if settings["vocab_size"] < SMALLEST:
            raise UsageError(f"A vocabulary needs at least {SMALLEST} pieces, not {self.vocab_size}.", hint="Try --vocab-size 2048.")
        if self.out.exists() and not (self.out.is_dir() and all(path.name.startswith(files.TEMPORARY) for path in self.out.iterdir())):
            self._go_on(settings, resume=resume)
            return
        missing = "" if self.catalogue is None else catalogue.missing(self.catalogue)
        self.results = {
            "settings": settings,
            "machine": {
                "threads": num_threads(),
                "torch": torch.__version__,
                "precision": str(fast_dtype(pick_device("auto"))).removeprefix("torch."),
                "compiled": self.worth_compiling(),
            },
            "references": [],
            "rungs": [],
            "catalogue": None if self.catalogue is None or missing else {"name": self.catalogue},
            "catalogue_missing": missing,
            "done": False,
            "pieces": settings["vocab_size"],
        }
        self.check_shapes()
        self.save()
        if missing:
            self.tell(missing)

    def check_shapes(self) -> None:
        """Whether every network can be built in this size; the embedding alone may be more."""
        for rung in self.rungs:
            if rung.counts:
                continue
            try:
                build.shaped(self.describe(rung, 1), self.results["pieces"], place="meta")
            except (ValueError, RecipeError) as error:
                why = error.message if isinstance(error, RecipeError) else f"{error}."
                hint = f"Choose another --size, or fewer pieces than {self.results['pieces']:,} with --vocab-size."
                raise UsageError(f"{rung.name} cannot have the size {self.size}: {why}", hint=hint) from None

    def _go_on(self, settings: dict[str, Any], *, resume: bool) -> None:
        if not resume:
            raise ExistsError(f"{self.out} exists.", hint="Go on with --resume, or name another folder with --out.")
        if not (self.out / RESULTS).is_file():
            raise ExistsError(f"{self.out} exists and is no ladder.", hint="Name another folder with --out.")
        found = files.read_json(self.out / RESULTS)
        expected = {"settings": dict, "machine": dict, "references": list, "rungs": list}
        if not isinstance(found, dict) or not all(isinstance(found.get(key), kind) for key, kind in expected.items()):
            raise BadFileError(self.out / RESULTS, "is not what a ladder writes.", hint="Name another folder with --out.")
        for key, now in settings.items():
            if now != (then := found["settings"].get(key)):
                hint = "Give it the settings that it began with, or name another folder with --out."
                raise UsageError(f"{self.out} was begun with another {key} ({then}).", hint=hint)
        self.results = found
        files.remove_leftovers(self.out)
        if found.get("catalogue_missing"):
            self.tell(found["catalogue_missing"])

    def save(self) -> None:
        """Write down what is known."""
        files.write_json(self.out / RESULTS, self.results)

    # --- what is to be done ---

    @property
    def jobs(self) -> list[tuple[Rung, int]]:
        """Every rung with every seed that it is trained from."""
        return [(rung, seed) for rung in self.rungs for seed in range(1, 1 + (self.seeds if rung.seeds else 1))]

    @property
    def trained(self) -> int:
        """How many networks are trained from nothing."""
        return sum(not rung.counts for rung, _ in self.jobs)

    def describe(self, rung: Rung, seed: int) -> Recipe:
        """The recipe of a rung; its paths are whole, so that it may be gone on with from another folder."""
        return describe(
            rung,
            tokens=self.out.resolve() / TOKENS,
            tokenizer=self.out.resolve() / TOKENIZER,
            vocab_size=self.results["pieces"],
            size=self.size,
            seed=seed,
            length={"minutes": self.results.get("seconds_a_rung", 60.0) / 60} if self.tokens is None else {"tokens": self.tokens},
            precision=self.results["machine"]["precision"],
            compiled=self.results["machine"]["compiled"],
        )

    def title(self, rung: Rung, seed: int) -> str:
        """What a rung is called while it is climbed."""
        return rung.name if seed == 1 else f"{rung.name}, seed {seed}"

    def left(self, jobs: list[tuple[Rung, int]]) -> str:
        """How much is left when these rungs are, and the catalogue's model after them."""
        num = sum(not rung.counts for rung, _ in jobs) + (self.results["catalogue"] is not None)
        known = [self.results[key] for key in ("seconds_a_rung", "seconds_beside") if key in self.results]
        return pace.left(num, took=self.took, pace=Pace(*known) if known else None)

    def worth_compiling(self) -> bool:
        """Whether a compiled step makes up for the time that compiling takes; where there is no compiler it cannot be."""
        seconds = 60 * self.minutes / max(1, self.trained)
        here = pick_device("auto").type == "cuda" or any(shutil.which(name) for name in COMPILERS)
        return here and self.tokens is None and seconds >= pace.COMPILE_FROM

    # --- what all rungs share ---

    def tokenizer(self) -> Tokenizer:
        """A vocabulary learnt from the text, and the text's tokens."""
        place = self.out / TOKENIZER
        if not (self.out / TOKENS / shards.INDEX).is_file():
            vocab_size = self.results["settings"]["vocab_size"]
            if self.vocabulary is None:
                self.tell(f"A vocabulary of {vocab_size:,} pieces is learnt …")
                train_bpe((document.text for document in self.corpus.documents("train")), vocab_size=vocab_size).save(place)
            else:
                self.vocabulary.save(place)
            splits = {split: ((each.id, each.text) for each in self.corpus.documents(split)) for split in ("train", "valid")}
            totals = {split: self.corpus.num_documents(split) for split in splits}
            shards.write_shards(self.out / TOKENS, splits, Tokenizer.load(place), totals=totals)
        tokenizer = Tokenizer.load(place)
        self.results["pieces"] = tokenizer.vocab_size  # a short text may have fewer than were wanted
        return tokenizer

    def validation(self, tokenizer: Tokenizer) -> list[str]:
        """Documents that everything is judged on: as many as all can be judged by in their share of the time."""
        documents = self.judged or [document.text for document in self.corpus.documents("valid")]
        if "validation" not in self.results:
            least, most = map(float, VALIDATION_BYTES if self.judged is None else (sum(map(num_bytes, documents)),) * 2)
            sample = "".join(documents)[:MEASURED]
            rate = self._measure_network(sample, tokenizer)
            self.results["judging"] = {"bytes_per_second": rate, "times": len(POINTS) + 1}
            most = min(most, PATIENCE * rate)
            if self.tokens is None:
                most = min(most, JUDGING * 60 * self.minutes * rate / max(1, self.trained * (len(POINTS) + 1)))
            if self.results["catalogue"] is not None:
                most = min(most, SCORING * 60 * self.minutes * self._measure_catalogue(sample))
            self.results["validation"] = {"most": int(max(least, most))}
        chosen: list[str] = []
        total = 0
        for place in np.random.Generator(np.random.PCG64(1)).permutation(len(documents)):
            size = num_bytes(documents[place])
            if size and (not chosen or total + size <= self.results["validation"]["most"]):
                chosen.append(documents[place])
                total += size
        self.results["validation"] |= {"documents": len(chosen), "bytes": total}
        self.save()
        return chosen

    def _measure_network(self, sample: str, tokenizer: Tokenizer) -> float:
        """Bytes a second that a network of this size scores; the last of the story stands for all."""
        networks = [rung for rung in self.rungs if not rung.counts]
        if not networks:
            return float(VALIDATION_BYTES[1])
        model = build.shaped(self.describe(networks[-1], 1), tokenizer.vocab_size)
        assert isinstance(model, Network)
        model.initialize()
        model.to(pick_device("auto")).eval()
        for text in (sample[:400], sample):  # what is asked first also sets things up
            began = time.perf_counter()
            bits_per_byte(model, tokenizer, [text], context_length=SEQUENCE, autocast=self.autocast, name="measuring")
        return num_bytes(sample) / (time.perf_counter() - began)

    def _measure_catalogue(self, sample: str) -> float:
        """Bytes a second that the catalogue's model scores. It is made ready to read: what cannot be read with is said now."""
        run = self._reader(minutes=1.0)
        run.log.close()
        began = time.perf_counter()
        catalogue.score(run, [sample], name="measuring")
        self.results["catalogue"]["parameters"] = sum(each.numel() for each in run.model.parameters() if not each.requires_grad)
        return num_bytes(sample) / (time.perf_counter() - began)

    @property
    def autocast(self) -> torch.dtype | None:
        """The number type to compute in, None for float32."""
        name = self.results["machine"]["precision"]
        return None if name == "float32" else getattr(torch, name)

    def references(self, texts: list[str]) -> None:
        """Compressors, because a reader understands those."""
        done = {each["key"] for each in self.results["references"]}
        if len(done) == len(self.compressors):
            return
        valid = b"".join(map(to_bytes, texts))
        train = b"".join(to_bytes(document.text) for document in self.corpus.documents("train"))
        for method in self.compressors:
            if method in done:
                continue
            began = time.perf_counter()
            bits = compressed_bits_per_byte(train, valid, method=method)
            seconds = time.perf_counter() - began
            self.results["references"].append({"key": method, "name": method, "bits_per_byte": bits, "seconds": round(seconds, 2)})
            self.save()
            self.tell(f"{bits:.4f} bits per byte  {method}")

    def share_time(self) -> None:
        """Divide what is left of the time among the networks: the same wall time for each."""
        if "seconds_a_rung" in self.results or self.tokens is not None:
            return
        reads = self.results["catalogue"] is not None
        judging = self.results["judging"]
        shared = pace.share(
            minutes=self.minutes,
            spent=time.perf_counter() - self.began,
            rungs=self.trained + reads,
            judging=judging["times"] * self.results["validation"]["bytes"] / judging["bytes_per_second"],
            compiled=self.results["machine"]["compiled"],
            reserved=2 * SCORING * 60 * self.minutes if reads else 0.0,
        )
        self.results |= {"seconds_a_rung": shared.learning, "seconds_beside": shared.beside}
        self.save()
        self.tell(shared.sentence(minutes=self.minutes, rungs=self.trained + reads))

    # --- the rungs ---

    def rung(self, rung: Rung, described: Recipe, texts: list[str]) -> None:
        """Train one rung, or go on with it, and let it write."""
        began = time.perf_counter()
        result = self._count(described, texts) if rung.counts else self._train(described, texts)
        entry = {"key": described.name, "rung": rung.key, "name": rung.name, "adds": rung.adds, "family": rung.family}
        self.results["rungs"].append({**entry, "seed": described.seed, **result, "sample": sample(open_model(self.out / described.name))})
        self.save()
        if not rung.counts:
            self.took.append(time.perf_counter() - began)
        self.tell(f"{result['bits_per_byte']:.4f} bits per byte  {self.title(rung, described.seed)}")
        if self.climbed is not None:
            self.climbed(self.results["rungs"][-1])

    def _count(self, described: Recipe, texts: list[str]) -> dict[str, Any]:
        folder = self.out / described.name
        fit(described, folder, resume=True, tell=lambda _: None)  # the ladder says it in its own words
        (line,) = (line for line in read_log(folder / LOG) if line.get("event") == "fitted")
        opened = open_model(folder)
        assert isinstance(opened.model, ngram.Model)
        return {
            "parameters": opened.model.num_grams(),
            "seconds": line["detail"]["seconds"],
            "tokens": line["detail"]["tokens"],
            "bits_per_byte": bits_per_byte(opened.model, opened.tokenizer, texts).bits_per_byte,
            "curve": [],
        }

    def _train(self, described: Recipe, texts: list[str]) -> dict[str, Any]:
        run = start(described, self.out / described.name, resume=True)
        begin, end = run.tokenizer.begin_id, run.tokenizer.end_id
        run.validation = [
            Scored(np.array([begin, *ids, end]), num_bytes(text))
            for ids, text in zip(run.tokenizer.encode_batch(texts), texts, strict=True)
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
        last = next(line for line in reversed(lines) if "bits_per_byte" in line)
        points = [line["detail"] for line in lines if line.get("event") == "rung"] + [last]
        return {
            "parameters": run.model.num_parameters(),
            "seconds": last["seconds"],
            "tokens": last["tokens"],
            "bits_per_byte": last["bits_per_byte"],
            "curve": [[point["seconds"], point["bits_per_byte"]] for point in points],
        }

    # --- the catalogue's model ---

    def _reader(self, *, minutes: float) -> Run:
        """The run in which the catalogue's model reads."""
        assert self.catalogue is not None
        name = str(Path(self.catalogue).resolve()) if exists(self.catalogue) else self.catalogue
        return catalogue.reader(
            name,
            corpus=self.corpus.folder.resolve(),
            minutes=minutes,
            precision=self.results["machine"]["precision"],
            out=self.out / READER,
        )

    def read(self, texts: list[str]) -> None:
        """The catalogue's LLaMA, before and after reading this text for as long as the rung that was trained longest."""
        found = self.results["catalogue"]
        longest = max((entry["seconds"] for entry in self.results["rungs"] if entry["curve"]), default=60.0)
        run = self._reader(minutes=self.results.get("seconds_a_rung", longest) / 60)
        if "before" not in found:
            found |= {"before": catalogue.score(run, texts), "sample_before": sample(catalogue.opened(run))}
            self.save()
            self.tell(f"{found['before']:.4f} bits per byte  {self.catalogue}, as it is")
        catalogue.read(run)
        after = catalogue.score(run, texts)
        reading = {"seconds": round(run.seconds, 3), "tokens": run.tokens, "sample_after": sample(catalogue.opened(run))}
        found |= {"after": after, **reading}
        self.save()
        self.tell(f"{after:.4f} bits per byte  {self.catalogue}, after reading")


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


def to_bytes(text: str) -> bytes:
    """A text in UTF-8; half characters are kept."""
    return text.encode("utf-8", "surrogatepass")


def num_bytes(text: str) -> int:
    """The divisor of bits per byte."""
    return len(to_bytes(text))
