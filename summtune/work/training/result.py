"""Writes training.json, what a training reports about itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from summtune.base.files import write_json
from summtune.runs.statistics import TRAINING_FILE
from summtune.runs.statistics import Training as Report
from summtune.work.models.changed_weights import unchanged_weights
from summtune.work.tokens.loss_warnings import loss_warnings

if TYPE_CHECKING:
    from summtune.work.training.loop import Training


def write_training(training: Training) -> None:
    """Write ``training.json`` of a training whose ``model/`` is written; only the first rank calls this."""
    trainable, total = training.parameters
    state, examples = training.state, training.proof.examples
    weights = unchanged_weights(training.run_dir / "model", Path(training.plan.model.folder))
    report = Report(
        trainable_parameters=trainable,
        total_parameters=total,
        pairs=training.batches.real,
        steps=state.step,
        epochs=training.epoch,
        eval_loss=state.best_loss,
        best_step=state.best_step,
        train_loss=training.log.mean_loss(),
        resumed_from_step=training.begun_at.step or None,
        **training.spent(),
        processes=training.ranks,
        precision=training.precision,
        unchanged_tensors=weights["unchanged_tensors"],
        compared_tensors=weights["compared_tensors"],
        lost_text={role: each.lost for role, each in examples.items()},
        warnings=tuple(text for role, each in examples.items() for text in loss_warnings(role, each.lost)),
    )
    write_json(training.run_dir / TRAINING_FILE, report.to_json())
