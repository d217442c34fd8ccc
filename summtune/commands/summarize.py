"""Summarizes dialogues with a finished run or a model: runs the predict stage in a temporary run directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from typing_extensions import assert_never

from summtune.base.console import SafeConsole
from summtune.base.errors import ModelError, RunDirectoryError
from summtune.base.files import followed, read_jsonl, write_json, write_jsonl, write_text
from summtune.base.hashing import content_sha256, hash_of
from summtune.base.places import model_folder
from summtune.base.printing import show_data, show_json
from summtune.commands.display import TerminalDisplay
from summtune.commands.endpoint import ask
from summtune.data.hub_access import fetch_model
from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.launchers.local import Listener, run_processes
from summtune.machine.devices import visible_gpus
from summtune.machine.model_limits import facts_of, lengths_within
from summtune.plan.beginning import PromptData, RoleData, Source, origin_now
from summtune.plan.checking import problems_of_files
from summtune.plan.keys import PromptKeys
from summtune.plan.launch import Launch
from summtune.plan.models import model_of
from summtune.plan.plan import ComparePlan, EndpointPlan, PromptPlan, RunPlan, ScoredPlan, TrainPlan, read_plan
from summtune.plan.prompt_format import prompt_format
from summtune.recipe.keys import PromptRecipe
from summtune.recipe.paths import resolve_model
from summtune.recipe.sections import DatasetSource, Generation
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, TOKENS, is_complete, timestamp
from summtune.runs.statistics import TRAINING_FILE


def summarize_input(
    model: str,
    file: str,
    as_json: bool,
    dialogue_field: str | None = None,
    id_field: str | None = None,
    messages_field: str | None = None,
) -> None:
    """Summarize the dialogues of a file or of standard input and print the summaries."""
    from summtune.data.inputs import read_inputs

    inputs = read_inputs(file, dialogue_field, id_field, messages_field)
    with TerminalDisplay(SafeConsole(stderr=True)) as display:
        if (
            Path(model).is_dir() or model_folder(model) is not None
        ):  # a hub model is downloaded first, with its own bars
            display.wait("predict", "starting 1 process")
        summaries = summarize(model, [each.dialogue for each in inputs], display.listener)
    for each, summary in zip(inputs, summaries, strict=True):
        identity = {} if each.id is None else {"id": each.id}
        row = {**identity, "dialogue": each.dialogue, "summary": summary}
        show_json(row, indent=None) if as_json else show_data(summary)


def summarize(source: str, dialogues: Sequence[str], listener: Listener) -> list[str]:
    """Return the summary of each dialogue.

    Args:
        source: a finished run, with its model, prompt and generation settings; or a model (hub id, local folder,
            builtin/flan-t5-nano), with the default settings.
        dialogues: with one turn per line.
        listener: receives the events of the worker.

    Raises:
        InputError: the model does not exist, or the run is not finished.
        StageError: generation failed.
    """
    run_dir = Path(source)
    with tempfile.TemporaryDirectory(prefix="summtune-") as temporary:
        folder = Path(temporary)
        (folder / TOKENS).mkdir()  # so that the tokens are not added to the cache
        rows = [Dialogue(str(at), dialogue, ()) for at, dialogue in enumerate(dialogues)]
        write_jsonl(folder / DATA_FILES["test"], (row.to_json() for row in rows))
        is_run = (run_dir / "plan.json").is_file()
        plan = _of_run(run_dir, folder) if is_run else _of_model(source, folder / DATA_FILES["test"], len(rows))
        write_json(folder / "plan.json", plan.to_json())
        if isinstance(plan, EndpointPlan):
            ask(plan, folder, listener)
        else:
            write_text(folder / plan.predict.config_file, to_yaml(accelerate_config(plan.predict, folder)))
            run_processes(plan.predict, folder, ["predict"], listener)
        return [row["prediction"] for row in read_jsonl(folder / "predictions.jsonl")]


def _of_run(run_dir: Path, folder: Path) -> RunPlan:
    """Return the plan of the run's prediction in one process; copy the files that it needs into ``folder``."""
    plan = read_plan(run_dir)
    match plan:
        case ScoredPlan():
            raise RunDirectoryError(
                f"the directory holds external outputs, without a model (got {run_dir}); name a run or a model"
            )
        case ComparePlan():
            raise RunDirectoryError(
                f"a comparison has several models (got {run_dir}); name the run directory of one of its systems"
            )
        case TrainPlan():
            if not is_complete(run_dir, "train"):
                raise RunDirectoryError(
                    f"the training of the run has not finished (got {run_dir}); run its recipe again to resume it"
                )
            _check_base(plan)
            (folder / "model").mkdir()
            for entry in followed(run_dir / "model").iterdir():  # not the folder: the stage writes a file in it
                (folder / "model" / entry.name).symlink_to(entry)
            shutil.copyfile(run_dir / TRAINING_FILE, folder / TRAINING_FILE)
        case PromptPlan():
            _copy_exemplars(run_dir, folder)
        case EndpointPlan():
            _copy_exemplars(run_dir, folder)
            return plan
        case _:
            assert_never(plan)
    if plan.generator == "vllm":
        return plan  # one process, and as many devices as the model needs
    return plan.model_copy(update={"predict": _alone(plan.predict.device)})


def _copy_exemplars(run_dir: Path, folder: Path) -> None:
    exemplars = DATA_FILES["exemplars"]
    if (run_dir / exemplars).is_file():
        shutil.copyfile(run_dir / exemplars, folder / exemplars)


def _check_base(plan: TrainPlan) -> None:
    """Check that the base of a trained adapter is still what the adapter was trained on.

    Raises:
        RunDirectoryError: its folder is gone, or holds another model.
    """
    if plan.adapter is None:
        return
    base, trained_on = Path(plan.model.folder), plan.model.content_sha256
    if not base.is_dir():
        raise RunDirectoryError(f"the base of the run's adapter is gone (got no folder {base}); restore it")
    if trained_on is not None and content_sha256(base) != trained_on:
        raise RunDirectoryError(
            f"the run's adapter was trained on another model than the one that is there now (got {base}, whose content "
            "has changed); restore that model, or run the recipe again"
        )


def _of_model(source: str, file: Path, count: int) -> PromptPlan:
    """Return the plan of a zero-shot prompt, with lengths that the model accepts.

    Args:
        source: hub id, local folder or builtin/flan-t5-nano.
        file: with the dialogues, as the worker reads them.
        count: number of dialogues.
    """
    name, complaints = resolve_model(source, Path.cwd())
    if complaints:
        raise ModelError(complaints[0])
    folder, revision = model_folder(name), None
    content = None if folder is None else content_sha256(folder)
    if folder is None:
        fetched = fetch_model(name, None)
        folder, revision = fetched.path, fetched.revision
    sequence_len, max_new_tokens = lengths_within(
        facts_of(folder), PromptRecipe.model_fields["sequence_len"].default, Generation().max_new_tokens
    )
    recipe = PromptRecipe(
        kind="prompt",
        base_model=name,
        test_datasets=[DatasetSource(path=str(file))],
        sequence_len=sequence_len,
        generation=Generation(max_new_tokens=max_new_tokens),
    )
    if wrong := problems_of_files(recipe, folder):
        raise ModelError(wrong[0][1])
    identity = hash_of(recipe.model_dump(mode="json"))
    read = Source(path=str(file), split=None, count=count, revision=None, skipped_rows=0, empty_references=0)
    return PromptPlan(
        name="summarize",
        identity=identity,
        keys=PromptKeys(predict=identity, evaluate=identity, report=identity),
        recipe_path="",
        recipe=recipe,
        model=model_of(recipe, folder, revision, content),
        data=PromptData(
            test=RoleData(dialogues=count, pairs=0, sha256=content_sha256(file), sources=[read]),
            exemplars=None,
            leakage={},
        ),
        prompt=prompt_format(recipe, folder, timestamp()[:10]),
        predict=_alone("cuda" if visible_gpus() else "cpu"),
        **dict(origin_now(Path.cwd())),
    )


def _alone(device: Literal["cuda", "cpu"]) -> Launch:
    """Return the launch of a single process."""
    return Launch(distribution="none", processes=1, device=device, config_file="accelerate.yaml")
