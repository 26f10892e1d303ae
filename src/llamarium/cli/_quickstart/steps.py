"""The quickstart, step by step: text, tokenizer, ladder, speak, ask, report. Everything runs for real on the user's text.

Takes: a text source, minutes, a language, a folder.
Gives: corpus, tokenizer, runs, ``quickstart.json`` and ``report.html`` in the folder.
Does not know: how any of it works; this is where the floors are wired together, in the order of the story.
"""

from __future__ import annotations

import datetime
import math
import platform
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import llamarium
from llamarium.adapt import lora
from llamarium.apps.ask.answer import ask, highlights
from llamarium.apps.ask.index import Index, build_in_memory
from llamarium.apps.ladder.climb import Ladder
from llamarium.apps.ladder.page import write_report
from llamarium.apps.ladder.rungs import BATCH, OPTIMIZER, RUNGS, SEQUENCE
from llamarium.checkpoint.open import Opened
from llamarium.cli._quickstart.narration import Narrator
from llamarium.cli._quickstart.page import COUNTS, PACKERS, render
from llamarium.cli._quickstart.words import Voice
from llamarium.engine.generate import Generation, generate
from llamarium.engine.language_model import LanguageModel
from llamarium.engine.sample import Sampling
from llamarium.evaluate.bits_per_byte import bits_per_byte
from llamarium.evaluate.compressors import compressed_bits_per_byte
from llamarium.evaluate.repetition import repetition_rate
from llamarium.ground import files
from llamarium.ground.device import fast_dtype, matmul_rate, num_threads, pick_device
from llamarium.ground.errors import ExistsError, LlamariumError
from llamarium.ground.network import Watch
from llamarium.ground.progress import say
from llamarium.text.corpus import Corpus, open_corpus
from llamarium.text.document import Document
from llamarium.text.prepare import prepare
from llamarium.text.python_documentation import WORD as PYTHON_DOCUMENTATION
from llamarium.tokens.tokenizer import Tokenizer
from llamarium.tokens.train import train_bpe
from llamarium.train import finish, loop, recipe
from llamarium.train.data import Scored
from llamarium.train.run import Run, start
from llamarium.train.validate import validate

CATALOGUE = "smollm2-135m-instruct"
RESULTS, REPORT = "quickstart.json", "report.html"
VOCAB_SIZE = 1024
SIZE = "1M"  # weights of each network
CLIMBING = 0.3  # share of the time for the networks of the ladder, all of them together
READING = 0.3  # share of the time for LoRA: 90 of 300 seconds
SCORING = 1 / 15  # share of the time for scoring the catalogue's model once
SECONDS_TO_REPORT = 8  # what speaking, asking and writing the page take when everything is loaded


@dataclass
class Quickstart:
    """One quickstart under way."""

    source: str
    minutes: float
    language: str
    out: Path
    began: float = field(default_factory=time.perf_counter)
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tell = Narrator(self.language)
        self.voice = Voice(self.language)
        self.watch = Watch()
        self.device = pick_device("auto")
        self.phases: list[dict[str, Any]] = []

    def left(self) -> float:
        """Seconds until the promised end."""
        return self.began + 60 * self.minutes - time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a step."""
        start = time.perf_counter()
        yield
        self.phases.append({"name": name, "seconds": round(time.perf_counter() - start, 2)})

    def run(self) -> Path:
        """All steps; returns the path of the report."""
        say(self.tell("start", minutes=self.minutes, threads=num_threads()))
        with self.phase("probe"):
            self.precision = self.probe()
        with self.phase("text"):
            corpus = self.text()
        with self.phase("tokenizer"):
            tokenizer = self.tokenizer(corpus)
        with self.phase("load"):
            reader = self.reader()
            valid = self.validation(corpus, reader)
        with self.phase("references"):
            self.references(corpus, valid)
        with self.phase("alone"):
            asked = self.ask_alone(reader)
        with self.phase("rungs"):
            self.rungs(corpus, tokenizer, valid)
        with self.phase("own"):
            own = self.own(tokenizer, valid)
        if reader is not None:
            with self.phase("reading"):
                self.reading(reader, valid)
        with self.phase("speak"):
            self.speak(own, valid)
        with self.phase("ask"):
            self.ask(asked)
        return self.report()

    # --- 0 ---

    def probe(self) -> torch.dtype:
        """Which number type is fast here."""
        precision = fast_dtype(self.device)
        rate = matmul_rate(precision, self.device, size=1024, seconds=1.0)
        name = str(precision).removeprefix("torch.")
        say(self.tell("probe", gflops=rate / 1e9, precision=name))
        machine = {"processor": _processor(), "threads": num_threads(), "torch": torch.__version__, "precision": name}
        self.results |= {
            "language": self.language,
            "version": llamarium.__version__,
            "date": datetime.date.today().isoformat(),
            "machine": machine,
            "minutes": self.minutes,
        }
        return precision

    # --- 1 ---

    def text(self) -> Corpus:
        """Read, clean, deduplicate, split."""
        say(self.tell("text", source=self.source))
        report = prepare([self.source], self.out / "corpus")
        corpus = open_corpus(self.out / "corpus")
        dropped = {reason: count for reason, count in report.dropped.items() if count}
        text = {
            "source": self.source,
            "documents_in": report.documents_in,
            "documents_out": report.documents_out,
            "characters_out": report.characters_out,
            "train_bytes": corpus.num_bytes("train"),
            "valid_bytes": corpus.num_bytes("valid"),
            "dropped": dropped,
            "examples": {reason: [example.text for example in examples] for reason, examples in report.examples.items()},
            "languages": report.languages,
            "leak": report.leak,
            "bad_files": [{"path": bad.path, "reason": bad.reason} for bad in report.bad_files],
        }
        self.results["text"] = text
        names = [f"{self.voice.known('reason', reason)} {count:,}" for reason, count in dropped.items()]
        say(self.tell("text_done", **{**text, "dropped": ", ".join(names) or self.tell("nothing_dropped")}))
        return corpus

    # --- 2 ---

    def tokenizer(self, corpus: Corpus) -> Tokenizer:
        """Learn a byte-level BPE."""
        say(self.tell("tokenizer"))
        tokenizer = train_bpe((document.text for document in corpus.documents("train")), vocab_size=VOCAB_SIZE)
        tokenizer.save(self.out / "tokenizer")
        texts = [document.text for document in corpus.documents("valid")]
        ids = tokenizer.encode_batch(texts)
        num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        result = {
            "vocab_size": tokenizer.vocab_size,
            "bytes_per_token": num_bytes / max(1, sum(map(len, ids))),
            "pieces": [tokenizer.decode_bytes([number]).decode("utf-8", "replace") for number in ids[0][:40]] if ids else [],
        }
        self.results["tokenizer"] = result
        say(self.tell("tokenizer_done", **result))
        return tokenizer

    # --- 3 ---

    def reader(self) -> Run | None:
        """The catalogue's LLaMA, ready to read the text with LoRA; None where it has not been pulled."""
        self.results["ladder"] = {"references": [], "own": None, "catalogue": None, "catalogue_missing": "", "overtakes": []}
        described = recipe.build(
            {
                "name": "reader",
                "data": {"corpus": str(self.out / "corpus")},
                "model": {"from": CATALOGUE},
                "train": {
                    "minutes": READING * self.minutes,
                    "batch_tokens": 1024,
                    "sequence_length": 256,
                    "learning_rate": 2e-3,
                    "save_every": 1_000_000,
                    "precision": str(self.precision).removeprefix("torch."),
                },
                "optimizer": {"weight_decay": 0.0, "warmup": 0.05},
                "lora": {"rank": 8, "alpha": 16, "targets": ["*_proj"]},
            }
        )
        try:
            return start(described, self.out / "reader")
        except LlamariumError as error:
            why = f"{error.message} {error.hint}".strip()
            self.results["ladder"]["catalogue_missing"] = why
            say(self.tell("no_catalogue", why=why))
            return None

    def validation(self, corpus: Corpus, reader: Run | None) -> list[Document]:
        """Documents that every rung is scored on: as many as the catalogue's model can score in its share of the time."""
        documents = list(corpus.documents("valid"))
        budget = 120_000
        if reader is not None:
            began = time.perf_counter()
            sample = " ".join(document.text for document in documents)[:4000]
            bits_per_byte(reader.model, reader.tokenizer, [sample], autocast=self.autocast(), name="measuring")
            rate = len(sample.encode()) / (time.perf_counter() - began)
            budget = int(min(budget, max(8_000, rate * SCORING * 60 * self.minutes)))
        chosen: list[Document] = []
        for place in np.random.Generator(np.random.PCG64(1)).permutation(len(documents)):
            document = documents[place]
            if not chosen or _num_bytes([*chosen, document]) <= budget:
                chosen.append(document)
        say(self.tell("ladder", documents=len(chosen), bytes=_num_bytes(chosen)))
        return chosen

    def autocast(self) -> torch.dtype | None:
        """The number type to compute in, None for float32."""
        return None if self.precision == torch.float32 else self.precision

    def references(self, corpus: Corpus, valid: list[Document]) -> None:
        """Compressors, given the training text."""
        train = [document.text.encode("utf-8", "surrogatepass") for document in corpus.documents("train")]
        texts = [document.text.encode("utf-8", "surrogatepass") for document in valid]

        def rung(key: str, name: str, bits: float, began: float, note: str = "") -> None:
            rungs = self.results["ladder"]["references"]
            rungs.append({"key": key, "name": name, "bits_per_byte": bits, "seconds": round(time.perf_counter() - began, 2), "note": note})
            say(self.tell("rung", bits=bits, bar=_bar(bits), name=name))

        for method in ("gzip", "xz"):
            began = time.perf_counter()
            rung(method, method, compressed_bits_per_byte(b"\n".join(train), b"\n".join(texts), method=method), began)

    def rungs(self, corpus: Corpus, tokenizer: Tokenizer, valid: list[Document]) -> None:
        """Every family of the story, from counting pairs to LLaMA: the networks all for the same few seconds."""
        ladder = Ladder(
            corpus,
            self.out / "ladder",
            minutes=CLIMBING * self.minutes,
            size=SIZE,
            catalogue=None,
            vocabulary=tokenizer,
            judged=[document.text for document in valid],
            compressors=(),
            tell=lambda _: None,
            climbed=self.climbed,
        )
        ladder.climb()
        write_report(ladder.out, ladder.results)

    def levels(self) -> list[dict[str, Any]]:
        """The rungs that need no time to learn: what our own model has to go past."""
        return [rung for rung in self.results["ladder"]["references"] if rung["key"] in (*PACKERS, *COUNTS)]

    def climbed(self, entry: dict[str, Any]) -> None:
        """Show a rung of the ladder that is done."""
        bits, seconds = entry["bits_per_byte"], entry["seconds"]
        name = f"{entry['name']} ({self.voice.time(seconds)})" if entry["curve"] else entry["name"]
        rung = {"key": entry["key"], "name": name, "bits_per_byte": bits, "seconds": seconds, "note": ""}
        self.results["ladder"]["references"].append(rung)
        say(self.tell("rung", bits=bits, bar=_bar(bits), name=name))

    def own(self, tokenizer: Tokenizer, valid: list[Document]) -> Run:
        """Raise a small LLaMA from nothing, in the time that is left when what follows has its share."""
        after: float = SECONDS_TO_REPORT
        if self.results["ladder"]["catalogue_missing"] == "":
            after += (READING + 2.4 * SCORING) * 60 * self.minutes
        seconds = max(0.1 * 60 * self.minutes, self.left() - after)
        described = recipe.build(
            {
                "name": "own",
                "data": {"corpus": str(self.out / "corpus"), "tokenizer": str(self.out / "tokenizer")},
                "model": {"family": "llama", "size": SIZE},
                "train": {
                    "minutes": seconds / 60,
                    "batch_tokens": BATCH,
                    "sequence_length": SEQUENCE,
                    "learning_rate": RUNGS[-1].learning_rate,
                    "validate_every": 1_000_000,
                    "save_every": 1_000_000,
                    "precision": str(self.precision).removeprefix("torch."),
                },
                "optimizer": OPTIMIZER,
            }
        )
        run = start(described, self.out / "own")
        ids = tokenizer.encode_batch([document.text for document in valid])
        run.validation = [
            Scored(np.array([tokenizer.begin_id, *document, tokenizer.end_id]), _num_bytes([text]))
            for document, text in zip(ids, valid, strict=True)
        ]
        say(self.tell("own", parameters=run.model.num_parameters(), seconds=seconds))
        curve: list[dict[str, float]] = []
        points = iter([0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 2.0])
        due = next(points)

        def watch(run: Run, line: loop.Line) -> None:
            nonlocal due
            if run.share() >= due or "bits_per_byte" in line:
                while run.share() >= due:
                    due = next(points)
                # The run's last validation is the rung's score: its windows are as long as the model's whole context.
                self.point(curve, run, line.get("bits_per_byte") or validate(run))

        loop.train(run, after_step=watch)
        run.log.close()
        run.model.eval()
        finish.write_model(run)
        ladder = self.results["ladder"]
        ladder["own"] = {
            "name": "own",
            "parameters": run.model.num_parameters(),
            "curve": curve,
            "bits_per_byte": curve[-1]["bits_per_byte"],
            "tokens": run.tokens,
            "seconds": round(run.seconds, 1),
        }
        ladder["overtakes"] = [
            {"over": rung["key"], "minute": next((p["minutes"] for p in curve if p["bits_per_byte"] < rung["bits_per_byte"]), None)}
            for rung in self.levels()
        ]
        return run

    def point(self, curve: list[dict[str, float]], run: Run, bits: float | None) -> None:
        """Show where the own model stands on its way up."""
        assert bits is not None
        curve.append({"minutes": run.seconds / 60, "bits_per_byte": bits})
        beaten = [rung["name"] for rung in self.levels() if bits < rung["bits_per_byte"]]
        beats = self.tell("beats", names=", ".join(beaten)) if beaten else self.tell("beats_none")
        say(self.tell("own_point", bits=bits, bar=_bar(bits), time=self.voice.time(run.seconds), beats=beats))

    def reading(self, reader: Run, valid: list[Document]) -> None:
        """The catalogue's LLaMA on the text: as it is, and after reading it."""
        texts = [document.text for document in valid]
        began = time.perf_counter()
        before = bits_per_byte(reader.model, reader.tokenizer, texts, autocast=self.autocast())
        say(self.tell("rung", bits=before.bits_per_byte, bar=_bar(before.bits_per_byte), name=CATALOGUE))
        # What is left when the second scoring and the rest have their share, if the machine was slower than it seemed.
        left = self.left() - (time.perf_counter() - began) - SECONDS_TO_REPORT
        seconds = max(5.0, min(READING * 60 * self.minutes, left))
        reader.recipe = reader.recipe.model_copy(update={"train": reader.recipe.train.model_copy(update={"minutes": seconds / 60})})
        say(self.tell("reading", name=CATALOGUE, seconds=seconds))
        reader.validation = []
        loop.train(reader)
        reader.log.close()
        finish.write_adapter(reader)
        lora.fuse(reader.model)
        reader.model.eval()
        after = bits_per_byte(reader.model, reader.tokenizer, texts, autocast=self.autocast())
        self.results["ladder"]["catalogue"] = {
            "name": CATALOGUE,
            "parameters": reader.model.num_parameters(),
            "before": before.bits_per_byte,
            "after": after.bits_per_byte,
            "seconds": round(reader.seconds, 1),
            "tokens_scored": after.tokens,
        }
        say(self.tell("after", name=CATALOGUE, before=before.bits_per_byte, after=after.bits_per_byte))

    # --- 4 ---

    def speak(self, own: Run, valid: list[Document]) -> None:
        """The user's own LLaMA continues the beginning of a document it has never seen."""
        prompt = " ".join(valid[0].text.split()[:8])[:60] if " " in valid[0].text[:200] else valid[0].text[:12]
        say(self.tell("speak", prompt=prompt))
        ids = own.tokenizer.encode(prompt)[: own.model.config.context_length // 2]
        room = own.model.config.context_length - len(ids) - 1
        sampling = Sampling(temperature=0.8, seed=1)
        result = generate(
            own.model,
            own.tokenizer,
            [own.tokenizer.begin_id, *ids],
            max_tokens=min(120, room),
            sampling=sampling,
            stop_ids=own.tokenizer.stop_ids,
        )
        said = {
            "prompt": prompt,
            "text": result.text,
            "tokens_per_second": result.completion_tokens / max(1e-9, result.seconds),
            "repetition": repetition_rate(result.token_ids),
        }
        self.results["speak"] = said
        say("   " + " ".join(result.text.split()))
        say(self.tell("speak_done", rate=said["tokens_per_second"], repetition=said["repetition"]))

    # --- 5 ---

    def questions(self) -> list[tuple[str, str]]:
        """Questions and whether the text answers them: written for Python's documentation, found in the text for one's own."""
        nowhere = "月球背面的城市叫什么名字？" if self.language == "zh" else "What is the name of the city on the far side of the Moon?"
        if self.source == PYTHON_DOCUMENTATION:  # which is in English, whatever the language of the rest
            return [("What is a context manager?", "answerable"), (nowhere, "unanswerable")]
        word = typical_word(document.text for document in open_corpus(self.out / "corpus").documents("train"))
        about = f"关于“{word}”，文中怎么说？" if self.language == "zh" else f"What does the text say about {word}?"
        return [(about, "answerable"), (nowhere, "unanswerable")]

    @cached_property
    def index(self) -> Index:
        """The index over the source's files."""
        return build_in_memory([self.source])

    def ask_alone(self, reader: Run | None) -> list[dict[str, Any]]:
        """What the catalogue's model says to each question without the documents."""
        asked: list[dict[str, Any]] = []
        for text, kind in self.questions():
            alone = None
            if reader is not None:
                model = LanguageModel(Opened(CATALOGUE, reader.model.eval(), reader.tokenizer, reader.tokenizer.stop_ids))
                answer: Generation = model.chat([{"role": "user", "content": text}], max_tokens=48, temperature=0)
                alone = {"model": CATALOGUE, "text": answer.text.strip()}
            asked.append({"question": text, "kind": kind, "alone": alone})
        return asked

    def ask(self, asked: list[dict[str, Any]]) -> None:
        """The same questions, answered by the documents: quoted and checked, or not at all."""
        for entry in asked:
            say(self.tell("ask", question=entry["question"]))
            if entry["alone"] is not None:
                say(self.tell("alone", text=" ".join(entry["alone"]["text"].split())))
            answer = ask(self.index, entry["question"])
            entry |= {
                "found": answer.found,
                "answer": answer.answer,
                "citations": [
                    {**asdict(citation), "highlights": highlights(citation.quote, entry["question"])} for citation in answer.citations
                ],
            }
            for citation in answer.citations:
                say(self.tell("quoted", **{**asdict(citation), "quote": " ".join(citation.quote.split())}))
            if not answer.found:
                say(self.tell("not_found"))
        self.results["ask"] = asked

    # --- 6 ---

    def report(self) -> Path:
        """Write the page, and say what comes next."""
        asked = self.watch.asked
        counted = self.tell("bytes") if not asked else self.tell("bytes_some", number=len(asked), first=asked[0])
        self.results |= {
            "phases": self.phases,
            "network": {"bytes_sent": 0 if not asked else None, "how": counted},
            "next": self.next_commands(),
        }
        path = self.out / REPORT
        files.write_json(self.out / RESULTS, self.results)
        files.write_text(path, render(self.results))
        say(self.tell("report", path=path))
        say(self.tell("time", seconds=self.voice.time(time.perf_counter() - self.began)))
        say(self.tell("next"))
        for command in self.results["next"]:
            say(f"  {command}")
        say(counted)
        return path

    def next_commands(self) -> list[str]:
        """Three commands that go on from here."""
        docs = "DIR" if self.source == PYTHON_DOCUMENTATION else self.source
        chat = self.out / "reader" / "adapter" if self.results["ladder"]["catalogue"] else CATALOGUE
        return [
            f'llamarium generate {self.out / "own" / "model"} "The"',
            f"llamarium chat {chat}" if self.results["ladder"]["catalogue"] else f"llamarium pull {chat}",
            f'llamarium ask "..." --docs {docs}',
        ]


def prepare_folder(out: Path) -> None:
    """An empty folder for a quickstart; an earlier quickstart gives way, anything else does not."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / RESULTS).is_file())):
        raise ExistsError(f"{out} exists and is no earlier quickstart.", hint="Name another folder with --out.")
    shutil.rmtree(out, ignore_errors=True)
    files.write_json(out / RESULTS, {"unfinished": True})


def typical_word(texts: Iterable[str]) -> str:
    """A word to ask about: frequent in a few documents, absent from most (tf-idf); of Chinese, a run of two to four characters.

    >>> typical_word(["the llama eats the grass", "the dog", "a llama llama", "the cat"])
    'llama'
    """
    total: Counter[str] = Counter()
    within: Counter[str] = Counter()
    num_documents = 0
    for text in texts:
        words = [word.lower() for word in re.findall(r"[A-Za-z]{5,}|[\u4e00-\u9fff]{2,4}", text)]
        total.update(words)
        within.update(set(words))
        num_documents += 1
    if not total:
        return "it"
    return max(sorted(total), key=lambda word: total[word] * math.log((num_documents + 1) / within[word]))


def _num_bytes(documents: list[Document]) -> int:
    return sum(len(document.text.encode("utf-8", "surrogatepass")) for document in documents)


def _bar(bits: float) -> str:
    """A bar of up to 24 cells: eight bits a byte is no compression at all."""
    return ("█" * round(3 * min(8.0, bits))).ljust(24)


def _processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
