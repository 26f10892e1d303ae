"""What is left when a run ends: the model as a Hugging Face folder, and the report.

Takes: a `Run`.
Gives: ``model/`` (and after LoRA ``adapter/``, a `peft` folder) and ``report.html`` in the run's folder.
Does not know: how the training went.
"""

from __future__ import annotations

from pathlib import Path

from llamarium.adapt import lora
from llamarium.checkpoint import huggingface, peft
from llamarium.ground import progress
from llamarium.ground.errors import Interrupted
from llamarium.train.loop import Speak, train
from llamarium.train.report import write_report
from llamarium.train.run import ADAPTER, MODEL, Run


def train_to_the_end(run: Run, *, speak: Speak | None = None) -> Path:
    """Train, then write the model and the report; returns the path of the model. The report is written after Ctrl-C, too."""
    if run.share() >= 1:
        progress.say(f"{run.folder} has already reached its end; its model is written again.")
    try:
        train(run, speak=speak)
    except Interrupted:
        write_report(run.folder)
        raise
    finally:
        run.log.close()
    if run.recipe.lora is not None:
        write_adapter(run)
        lora.fuse(run.model)
    write_model(run)
    return run.folder / MODEL


def write_model(run: Run) -> None:
    """Write the report, and then ``model/``, a Hugging Face folder: where there is one, everything is there."""
    write_report(run.folder)
    huggingface.save_folder(run.folder / MODEL, run.model, run.tokenizer)


def write_adapter(run: Run) -> None:
    """Write ``adapter/``, a `peft` folder, from the LoRA layers that the run has trained."""
    thin, base = run.recipe.lora, run.recipe.model.start
    assert thin is not None
    assert base is not None
    peft.save_adapter(run.folder / ADAPTER, run.model, base=base, rank=thin.rank, alpha=thin.alpha)
