"""Trains one tiny LLaMA with every optimizer and every rate of its grid, and draws what came of it.

Takes: the help topics that ship inside Python, as bytes; about five minutes of one core.
Gives: docs/concepts/optimizers.svg, and the table between the marks in docs/concepts/optimizers.md.
Does not know: recipes, runs, files of models.
"""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics

import torch
import torch.nn.functional as F
from torch import Tensor

from llamarium import optim
from llamarium.ground.picture import line_chart
from llamarium.models import llama
from llamarium.models.context import Dense

FOLDER = Path(__file__).parent / "concepts"
PAGE, PICTURE = FOLDER / "optimizers.md", FOLDER / "optimizers.svg"
BEGIN, END = "<!-- made by docs/optimizers_picture.py -->", "<!-- end -->"

CONFIG = llama.Config(vocab_size=256, width=64, layers=4, heads=2, context_length=64)
STEPS, ROWS, LENGTH = 300, 8, 64
GRIDS = {
    "sgd": (0.03, 0.1, 0.3, 1.0),
    "momentum": (0.03, 0.1, 0.3),
    "nesterov": (0.03, 0.1, 0.3),
    "rmsprop": (0.0003, 0.001, 0.003),
    "adadelta": (0.3, 1.0, 3.0, 10.0),
    "adagrad": (0.003, 0.01, 0.03),
    "adam": (0.001, 0.003, 0.01),
    "adamw": (0.001, 0.003, 0.01),
    "muon": (0.003, 0.01, 0.03, 0.1),
}
SMOOTH = 20  # steps that one point of the picture is the mean of
FAINT = ("momentum", "adadelta", "adagrad")


@dataclass(frozen=True)
class Outcome:
    """One training: losses of its steps and loss on text it has not seen, both in bits per byte."""

    rate: float
    losses: list[float]
    unseen: float


def text(*, held_out: bool) -> Tensor:
    """Python's help topics as bytes; every tenth is held out."""
    chosen = [topic for number, (_, topic) in enumerate(sorted(topics.topics.items())) if (number % 10 == 0) == held_out]
    return torch.frombuffer(bytearray("\n".join(chosen).encode()), dtype=torch.uint8).long()


def rows(data: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """`num` pieces of the text, (num, LENGTH + 1)."""
    starts = torch.randint(len(data) - LENGTH, (num,), generator=generator)
    return torch.stack([data[start : start + LENGTH + 1] for start in starts.tolist()])


def loss_of(model: llama.Model, ids_BT: Tensor) -> Tensor:
    logits = model(ids_BT[:, :-1], Dense(ids_BT[:, :-1]))
    return F.cross_entropy(logits.flatten(0, 1), ids_BT[:, 1:].flatten())


def trained(name: str, rate: float) -> Outcome:
    """The same first weights and the same pieces of text for every optimizer."""
    torch.manual_seed(1)
    model = llama.Model(CONFIG)
    model.initialize()
    optimizer = optim.build(name, model.named_parameters(), learning_rate=rate, weight_decay=None, betas=(0.9, 0.95))
    data, generator = text(held_out=False), torch.Generator().manual_seed(2)
    losses = []
    for step in range(1, STEPS + 1):
        now = optim.learning_rate(step / STEPS, peak=rate, schedule="cosine", warmup=0.05, final=0.1)
        for group in optimizer.param_groups:
            group["lr"] = now * group["scale"]
        loss = loss_of(model, rows(data, ROWS, generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item() / math.log(2))
    with torch.no_grad():
        unseen = loss_of(model, rows(text(held_out=True), 256, torch.Generator().manual_seed(3))).item() / math.log(2)
    return Outcome(rate, losses, unseen)


def picture(best: dict[str, Outcome]) -> str:
    def curve(losses: list[float]) -> list[tuple[float, float]]:
        return [(end, sum(losses[end - SMOOTH : end]) / SMOOTH) for end in range(SMOOTH, STEPS + 1, 4)]

    return line_chart(
        {f"{name} {outcome.rate:g}": curve(outcome.losses) for name, outcome in best.items()},
        title="One LLaMA, nine optimizers",
        x_label="step",
        y_label=f"bits per byte, mean of {SMOOTH} steps",
        faint={f"{name} {best[name].rate:g}" for name in FAINT},
    )


def table(outcomes: dict[str, list[Outcome]], best: dict[str, Outcome], *, seconds: float) -> str:
    lines = ["| optimizer | best rate | bits per byte on unseen text | at the other rates |", "| --- | --- | --- | --- |"]
    for name in sorted(best, key=lambda name: best[name].unseen):
        others = ", ".join(f"{other.rate:g}: {other.unseen:.3f}" for other in outcomes[name] if other is not best[name])
        lines.append(f"| `{name}` | {best[name].rate:g} | {best[name].unseen:.3f} | {others} |")
    size = llama.Model(CONFIG).num_parameters()
    lines += [
        "",
        f"{size:,} weights, {STEPS} steps of {ROWS} × {LENGTH} bytes, cosine with 5 % of warm-up, gradients clipped at norm 1, one seed.",
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, one thread, {seconds:.0f} s.",
    ]
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    outcomes: dict[str, list[Outcome]] = {}
    for name in optim.OPTIMIZERS:
        outcomes[name] = [trained(name, rate) for rate in GRIDS[name]]
        print(name, *(f"{outcome.rate:g}: {outcome.unseen:.3f}" for outcome in outcomes[name]), sep="  ", flush=True)
    best = {name: min(found, key=lambda outcome: outcome.unseen) for name, found in outcomes.items()}
    for name, outcome in best.items():
        if outcome.rate in (min(GRIDS[name]), max(GRIDS[name])):
            print(f"{name}: {outcome.rate:g} is at the edge of its grid, which should reach further")
    PICTURE.write_text(picture(best), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    made = table(outcomes, best, seconds=time.perf_counter() - began)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(PICTURE, PAGE, sep="\n")


if __name__ == "__main__":
    main()
