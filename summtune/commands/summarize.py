"""Summarizes dialogues with a finished run or a model: the predict stage in a run directory that lasts a moment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.base.console import SafeConsole
from summtune.base.errors import ModelError, RecipeError, RunDirectoryError
from summtune.base.files import followed, read_json, read_jsonl, write_json, write_jsonl, write_text
from summtune.base.places import model_folder
from summtune.base.printing import show_data, show_json
from summtune.commands.display import TerminalDisplay
from summtune.data.hub_access import fetch_model
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_processes
from summtune.machine.model_limits import facts_of, lengths_within
from summtune.plan.launch import Launch
from summtune.plan.plan import Plan, StagePlan, read_plan
from summtune.plan.resolve import resolve
from summtune.recipe.keys import Recipe
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, TOKENS, as_written, is_complete


def summarize_input(
    model: str, file: str, as_json: bool, dialogue_field: str | None = None, id_field: str | None = None
) -> None:
    """Summarize the dialogues of a file or of standard input and print the summaries."""
    from summtune.data.inputs import read_inputs

    inputs = read_inputs(file, dialogue_field, id_field)
    with TerminalDisplay(SafeConsole(stderr=True)) as display:
        if (
            Path(model).is_dir() or model_folder(model) is not None
        ):  # a model of the hub is fetched first, and shows that itself
            display.wait("predict", "starting 1 process")
        summaries = summarize(model, [each.dialogue for each in inputs], display.listener)
    for each, summary in zip(inputs, summaries, strict=True):
        identity = {} if each.id is None else {"id": each.id}
        row = {**identity, "dialogue": each.dialogue, "summary": summary}
        show_json(row, indent=None) if as_json else show_data(summary)


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
        run_processes(launch, folder, ["predict"], listener)
        return [row["prediction"] for row in read_jsonl(folder / "predictions.jsonl")]


def _of_run(run_dir: Path, folder: Path) -> Plan:
    """Return the run's plan, with what its prediction needs laid into ``folder``."""
    with as_written(run_dir):
        kind = read_json(run_dir / "plan.json").get("kind")
    if kind == "scored":
        raise RunDirectoryError(f"outputs from elsewhere were scored here (got {run_dir}); name a run or a model")
    plan = read_plan(run_dir)
    if plan.kind == "compare":
        raise RunDirectoryError(f"a comparison has several models (got {run_dir}); name the run of one of its systems")
    if plan.kind == "train" and not is_complete(run_dir, "train"):
        raise RunDirectoryError(
            f"the run has not finished its training (got {run_dir}); run its recipe to the end first"
        )
    if plan.kind == "train":
        (folder / "model").symlink_to(followed(run_dir / "model"))
        shutil.copyfile(run_dir / "training.json", folder / "training.json")
    exemplars = run_dir / DATA_FILES["exemplars"]
    if exemplars.is_file():
        (folder / DATA_FILES["exemplars"]).parent.mkdir()
        shutil.copyfile(exemplars, folder / DATA_FILES["exemplars"])
    return plan


def _of_model(source: str, folder: Path) -> Plan:
    """Return the plan of a zero-shot prompt of the model, no longer than the model takes."""
    local = Path(source)
    name = str(followed(local)) if local.is_dir() else source
    recipe: dict[str, Any] = {
        "kind": "prompt",
        "base_model": name,
        "test_datasets": [{"path": "builtin/dialogues"}],  # replaced by what is to be summarized
    }
    known = model_folder(name)
    if known is not None:
        recipe |= _lengths_within(known)
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
    shorter = plan.recipe.model_dump() | _lengths_within(fetched.path)
    return plan.model_copy(update={"model": model, "recipe": Recipe.model_validate(shorter)})


def _lengths_within(folder: Path) -> dict[str, Any]:
    """Return the keys of the recipe whose defaults are lowered to what the model in ``folder`` takes."""
    defaults = Recipe(kind="prompt")
    longest, most = lengths_within(facts_of(folder), defaults.sequence_len, defaults.generation.max_new_tokens)
    return {"sequence_len": longest, "generation": {"max_new_tokens": most}}
