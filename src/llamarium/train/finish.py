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
    model = run.folder / MODEL
    if run.share() >= 1 and model.is_dir():
        progress.say(f"{run.folder} has already reached its end.")
        return model
    try:
        train(run, speak=speak)
    except Interrupted:
        write_report(run.folder)
        raise
    finally:
        run.log.close()
    if (thin := run.recipe.lora) is not None:
        assert run.recipe.model.start is not None
        base = run.recipe.model.start
        peft.save_adapter(run.folder / ADAPTER, run.model, base=base, rank=thin.rank, alpha=thin.alpha, targets=thin.targets)
        lora.fuse(run.model)
    huggingface.save_folder(model, run.model, run.tokenizer)
    write_report(run.folder)
    return model
