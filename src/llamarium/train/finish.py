"""What is left when a run ends: the model as a Hugging Face folder, and the report.

Takes: a `Run`.
Gives: ``model/`` (and after LoRA ``adapter/``, a `peft` folder) and ``report.html`` in the run's folder.
Does not know: how the training went.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from llamarium.adapt import lora
from llamarium.checkpoint import huggingface, peft, store
from llamarium.ground import progress
from llamarium.ground.errors import LlamariumError, ResourceError
from llamarium.models.model import Network
from llamarium.train.loop import Speak, Watch, patiently, train
from llamarium.train.report import write_report
from llamarium.train.run import ADAPTER, MODEL, Run
from llamarium.train.validate import scale


def train_to_the_end(run: Run, *, speak: Speak | None = None, after_step: Watch | None = None) -> Path:
    """Train, then write the model and the report; returns the path of the model. The report is written however the training ends."""
    if run.done:
        progress.say(f"{run.folder} has already reached its end; its model is written again.")
    try:
        train(run, speak=speak, after_step=after_step)
    except LlamariumError:
        with contextlib.suppress(ResourceError):  # what stopped the run is what is to be said
            _report(run)
        raise
    finally:
        run.log.close()
    if run.recipe.train.keep_best and run.best is not None and run.best[1] != run.step:
        run.put_weights(store.read(run.checkpoints / store.folder_name(run.best[1]), group=run.group))
        progress.say(f"The model is that of step {run.best[1]}, the best with {run.best[0]:.4f} {scale(run).replace('_', ' ')}.")
    write_model(run)
    return run.folder / MODEL


def write_model(run: Run) -> None:
    """Write ``adapter/`` after LoRA, the report, and last ``model/``, a Hugging Face folder: where there is one, everything is there.

    While the disk is full it waits.
    """
    model = run.whole_model()
    with run.group.together():
        if not run.group.is_first:
            return
        patiently(lambda: _report(run))
        if run.recipe.lora is not None:
            patiently(lambda: write_adapter(run, model))
            lora.fuse(model)
        patiently(lambda: huggingface.save_folder(run.folder / MODEL, model, run.tokenizer))


def _report(run: Run) -> None:
    if run.group.is_first:
        write_report(run.folder)


def write_adapter(run: Run, model: Network | None = None) -> None:
    """Write ``adapter/``, a `peft` folder, from the LoRA layers that the run has trained."""
    thin, base = run.recipe.lora, run.recipe.model.start
    assert thin is not None
    assert base is not None
    model = run.model if model is None else model
    peft.save_adapter(run.folder / ADAPTER, model, base=base, rank=thin.rank, alpha=thin.alpha, dropout=thin.dropout)
