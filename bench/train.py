"""Training a 15.7M LLaMA, 16 x 256 tokens a step: our loop as it is, and transformers' Trainer in each of its settings.

The same rows, shape, optimizer and clipping; two steps of warm-up (compiling, printed) are left out. Each contender runs in a thread
that is let go a few steps at a time, in turn with the others, so that a machine whose speed drifts treats them alike.

python -m bench train [--rounds N]
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench._interleaved import processor

ROWS, LENGTH, VOCABULARY = 16, 256, 8192
SHAPE = {"layers": 6, "width": 384, "heads": 6, "kv_heads": 2, "head_width": 64, "hidden_width": 1024, "tied": False}
WARM_UP, STEPS, ROUNDS = 3, 4, 7


class Contender:
    """Somebody's training, which goes on by `steps` whenever it is let."""

    def __init__(self, name: str, body: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(body,), daemon=True)
        self._thread.start()

    def _run(self, body: Callable[[Callable[[], None]], None]) -> None:
        try:
            self._go.acquire()
            body(self._step_done)
        except BaseException as error:
            self._ended = error
            self._done.release()

    def _step_done(self) -> None:
        self._done.release()
        self._go.acquire()

    def advance(self, steps: int) -> float:
        """Seconds that so many steps take."""
        began = time.perf_counter()
        for _ in range(steps):
            self._go.release()
            self._done.acquire()
            if self._ended is not None:
                raise self._ended
        return time.perf_counter() - began


def material(folder: Path) -> Path:
    """Python's documentation as a corpus and a tokenizer of 8,192 pieces."""
    from llamarium.text.corpus import open_corpus
    from llamarium.text.prepare import prepare
    from llamarium.text.python_documentation import WORD
    from llamarium.tokens.train import train_bpe

    prepare([WORD], folder / "corpus")
    texts = (document.text for document in open_corpus(folder / "corpus").documents("train"))
    train_bpe(texts, vocab_size=VOCABULARY).save(folder / "tok")
    return folder


def ours(folder: Path, name: str, **settings: Any) -> tuple[Contender, Any]:
    from llamarium.train import recipe
    from llamarium.train.loop import train
    from llamarium.train.run import start

    described = recipe.build(
        {
            "name": name,
            "data": {"corpus": str(folder / "corpus"), "tokenizer": str(folder / "tok")},
            "model": SHAPE,
            "train": {
                "steps": 10_000,
                "batch_tokens": ROWS * LENGTH,
                "micro_batch_tokens": ROWS * LENGTH,
                "sequence_length": LENGTH,
                "save_every": 1_000_000,
                "learning_rate": 1e-3,
                **settings,
            },
        }
    )
    run = start(described, folder / name)
    return Contender(f"llamarium {name}", lambda step_done: train(run, after_step=lambda run, line: step_done())), run


def theirs(name: str, rows: torch.Tensor, folder: Path, **settings: Any) -> Contender:
    from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from llamarium.models import llama

    config = llama.Config(vocab_size=VOCABULARY, context_length=LENGTH, **SHAPE)
    values = {key: value for key, value in llama.config_to_hf(config).items() if key not in ("architectures", "model_type")}

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            return {"input_ids": rows[number], "labels": rows[number]}

    class Gate(TrainerCallback):  # type: ignore[misc]
        def __init__(self, step_done: Callable[[], None]) -> None:
            self.step_done = step_done

        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            self.step_done()

    def body(step_done: Callable[[], None]) -> None:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **values))
        arguments = TrainingArguments(
            output_dir=str(folder / name.replace(" ", "-")),
            per_device_train_batch_size=ROWS,
            max_steps=10_000,
            learning_rate=1e-3,
            lr_scheduler_type="cosine",
            weight_decay=0.1,
            adam_beta2=0.95,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=False,
            disable_tqdm=True,
            **settings,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Gate(step_done)]).train()

    return Contender(f"Trainer {name}", body)


def main(rounds: int = ROUNDS) -> None:
    from llamarium.ground.device import matmul_rate
    from llamarium.train.measure import flop_per_token

    folder = Path(tempfile.mkdtemp(prefix="bench-train-"))
    try:
        material(folder)
        contenders = []
        for name, settings in {
            "float32": {"precision": "float32", "compile": False},
            "bfloat16": {"precision": "bfloat16", "compile": False},
            "bfloat16 compiled": {"precision": "bfloat16", "compile": True},
        }.items():
            contender, run = ours(folder, name, **settings)
            contenders.append(contender)
        rows = torch.cat([torch.from_numpy(run.order.samples(k, ROWS).inputs) for k in range(0, 640, ROWS)])
        contenders += [
            theirs("float32", rows, folder),
            theirs("bfloat16", rows, folder, bf16=True),
            theirs("bfloat16 compiled", rows, folder, bf16=True, torch_compile=True),
        ]
        print(f"train: {processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {run.model.num_parameters():,} weights")
        for contender in contenders:
            print(f"  {contender.name:30} first {WARM_UP} steps, compiling included: {contender.advance(WARM_UP):.1f} s")
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        peaks = []
        for _ in range(rounds):
            peaks.append(matmul_rate(torch.bfloat16, run.device, size=2048, seconds=0.5))
            for contender in contenders:
                seconds[contender.name].append(contender.advance(STEPS) / STEPS)
        peak, flop = statistics.median(peaks), flop_per_token(run.model, LENGTH)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        best = min(value for name, value in medians.items() if name.startswith("Trainer"))
        print(f"  {flop / 1e6:.1f} MFLOP a token; a 2048³ product in bfloat16: {peak / 1e12:.3f} TFLOP/s")
        print(f"  medians of {rounds} rounds of {STEPS} steps:")
        for name, value in medians.items():
            rate = ROWS * LENGTH / value
            spread = f"{ROWS * LENGTH / max(seconds[name]):,.0f} … {ROWS * LENGTH / min(seconds[name]):,.0f}"
            share, ratio = rate * flop / peak, best / value
            print(f"  {name:30} {rate:8,.0f} tokens/s ({spread})  {share:6.1%} of the product  {ratio:5.2f} x Trainer's best")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
