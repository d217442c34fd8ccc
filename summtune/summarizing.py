"""Summarizes dialogues with a finished run or a model: the predict stage in a run directory that lasts a moment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.errors import ModelError, RecipeError, RunDirectoryError
from summtune.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from summtune.hub_access import fetch_model
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_stages
from summtune.plan import Launch, Plan, StagePlan, read_plan
from summtune.records import Dialogue
from summtune.resolution import resolve
from summtune.run_directory import DATA_FILES, TOKENS, is_complete


def summarize(source: str, dialogues: Sequence[str], listener: Listener) -> list[str]:
    """Return the summary of each dialogue.

    Args:
        source: a finished run, whose model, prompt and generation settings are used; or a model (hub id, local folder,
            builtin/flan-t5-nano), with the default ones.
        dialogues: the turns of each, one a line.
        listener: takes the events of the worker.

    Raises:
        InputError: there is no such model, or the run is not finished.
        StageError: generation failed.
    """
    run_dir = Path(source)
    with tempfile.TemporaryDirectory(prefix="summtune-") as temporary:
        folder = Path(temporary)
        (folder / TOKENS).mkdir()  # what is asked in passing leaves nothing in the cache
        plan = _of_run(run_dir, folder) if (run_dir / "plan.json").is_file() else _of_model(source, folder)
        device = next(stage.launch.device for stage in plan.stages if stage.name == "predict" and stage.launch)
        launch = Launch(distribution="none", processes=1, device=device, config_file="accelerate.yaml")
        plan = plan.model_copy(update={"stages": [StagePlan(name="predict", launch=launch)]})
        rows = [Dialogue(str(at), dialogue, ()) for at, dialogue in enumerate(dialogues)]
        write_jsonl(folder / DATA_FILES["test"], (row.to_json() for row in rows))
        write_json(folder / "plan.json", plan.to_json())
        write_text(folder / launch.config_file, to_yaml(accelerate_config(launch, folder)))
        run_stages(launch, folder, ["predict"], listener)
        return [row["prediction"] for row in read_jsonl(folder / "predictions.jsonl")]


def _of_run(run_dir: Path, folder: Path) -> Plan:
    """Return the run's plan, with what its prediction needs laid into ``folder``."""
    if read_json(run_dir / "plan.json").get("kind") == "scored":
        raise RunDirectoryError(f"outputs from elsewhere were scored here (got {run_dir}); name a run or a model")
    plan = read_plan(run_dir)
    if plan.kind == "compare":
        raise RunDirectoryError(f"a comparison has several models (got {run_dir}); name the run of one of its systems")
    if plan.kind == "train" and not is_complete(run_dir, "train"):
        raise RunDirectoryError(
            f"the run has not finished its training (got {run_dir}); run its recipe to the end first"
        )
    if plan.kind == "train":
        (folder / "model").symlink_to((run_dir / "model").resolve())
        shutil.copyfile(run_dir / "training.json", folder / "training.json")
    exemplars = run_dir / DATA_FILES["exemplars"]
    if exemplars.is_file():
        (folder / DATA_FILES["exemplars"]).parent.mkdir()
        shutil.copyfile(exemplars, folder / DATA_FILES["exemplars"])
    return plan


def _of_model(source: str, folder: Path) -> Plan:
    """Return the plan of a zero-shot prompt of the model."""
    local = Path(source).expanduser()
    recipe: dict[str, Any] = {
        "kind": "prompt",
        "base_model": str(local.resolve()) if local.is_dir() else source,
        "test_datasets": [{"path": "builtin/dialogues"}],  # replaced by what is to be summarized
    }
    write_json(folder / "summarize.yaml", recipe)
    try:
        plan = resolve(folder / "summarize.yaml").plan
    except RecipeError as error:
        raise ModelError(error.problems[0].message) from None
    assert plan.model is not None
    if plan.model.folder is not None:
        return plan
    fetched = fetch_model(plan.model.base_model, plan.model.revision)
    model = plan.model.model_copy(update={"folder": str(fetched.path), "revision": fetched.revision})
    return plan.model_copy(update={"model": model})
