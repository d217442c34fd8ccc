"""Reports a training to W&B, TensorBoard and MLflow, through accelerate's trackers."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from summtune.base.errors import StageError
from summtune.base.files import read_json, write_json
from summtune.plan.plan import TrainPlan
from summtune.runs.statistics import TrainLogRow

IDS_FILE = "logs/trackers.json"
"""The ids of W&B's and MLflow's runs, which a resumed training continues."""


class Trackers:
    """The trackers that a recipe names; only the first rank reports.

    Args:
        plan: of the training.
        run_dir: for the trackers' files.
        accelerator: of the training; it has been created.
        first_step: where this process starts, 0 or the resumed step.

    Raises:
        StageError: a tracker is not installed.
    """

    def __init__(self, plan: TrainPlan, run_dir: Path, accelerator: Accelerator, first_step: int) -> None:
        asked = list(_asked(plan))
        self._trackers: list[Any] = []
        if not asked or not accelerator.is_main_process:
            return
        ids_path = run_dir / IDS_FILE
        resumes = first_step > 0 and ids_path.is_file()
        ids = read_json(ids_path) if resumes else {"wandb": uuid.uuid4().hex, "mlflow": None}
        write_json(ids_path, ids)
        for name in asked:
            tracker = _tracker(name, plan, run_dir, first_step, ids)
            tracker.start()
            if name == "mlflow":
                write_json(ids_path, ids | {"mlflow": tracker.active_run.info.run_id})
            if name != "tensorboard" and not resumes:  # TensorBoard would write another file, which shows nothing
                tracker.store_init_configuration(plan.recipe.model_dump(mode="json"))
            self._trackers.append(tracker)

    def log_step(self, row: TrainLogRow) -> None:
        """Report a logged step, under the names that transformers' Trainer uses."""
        names = ("loss", "grad_norm", "learning_rate", "epoch", "samples_per_second", "tokens_per_second")
        self._log({f"train/{name}": getattr(row, name) for name in names}, row.step)

    def log_evaluation(self, row: TrainLogRow) -> None:
        """Report an evaluation."""
        self._log({"eval/loss": row.eval_loss, "train/epoch": row.epoch}, row.step)

    def _log(self, values: Mapping[str, float | None], step: int) -> None:
        for tracker in self._trackers:
            tracker.log({name: value for name, value in values.items() if value is not None}, step=step)

    def finish(self) -> None:
        """Write what is pending, and end the runs."""
        for tracker in self._trackers:
            tracker.finish()


def _asked(plan: TrainPlan) -> Iterator[str]:
    recipe = plan.recipe
    given = (
        ("wandb", recipe.wandb_project),
        ("tensorboard", recipe.use_tensorboard),
        ("mlflow", recipe.mlflow_tracking_uri),
    )
    for tracker, value in given:
        if value:
            if importlib.util.find_spec(tracker) is None:
                raise StageError(f"the recipe reports to {tracker}, which is not installed; pip install {tracker}")
            yield tracker


def _tracker(name: str, plan: TrainPlan, run_dir: Path, first_step: int, ids: Mapping[str, str | None]) -> Any:
    """Return a tracker of accelerate, not started; none of them reports anything about this machine or its user."""
    from accelerate import tracking

    recipe = plan.recipe
    run_name = recipe.wandb_name or plan.name
    match name:
        case "wandb":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            given = {"entity": recipe.wandb_entity, "mode": recipe.wandb_mode}
            return tracking.WandBTracker(
                recipe.wandb_project,
                name=run_name,
                id=ids["wandb"],
                resume="allow",
                dir=str(run_dir / "logs"),
                settings={
                    "silent": True,
                    "console": "off",
                    "disable_git": True,
                    "save_code": False,
                    "x_disable_stats": True,
                },
                **{key: value for key, value in given.items() if value is not None},
            )
        case "tensorboard":
            later = first_step + 1  # what a killed session logged beyond its checkpoint is logged again
            return tracking.TensorBoardTracker("tensorboard", run_dir / "logs", purge_step=later)
        case "mlflow":
            assert recipe.mlflow_tracking_uri is not None
            os.environ["MLFLOW_TRACKING_URI"] = recipe.mlflow_tracking_uri
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            if recipe.mlflow_tracking_uri.startswith("file:") or "://" not in recipe.mlflow_tracking_uri:
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the recipe asks for a folder
            experiment = recipe.mlflow_experiment_name or plan.name
            os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment  # this variable would outrank the recipe
            return tracking.MLflowTracker(experiment, run_id=ids["mlflow"], run_name=run_name)
    raise AssertionError(f"no such tracker: {name}")
