"""What a call of ``summtune evaluate`` scores with: the evaluation settings, and the data sets of references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError, Problem, RecipeError, RunDirectoryError
from summtune.base.hints import hint
from summtune.base.places import is_local
from summtune.data.external_predictions import GivenRows, reference_columns
from summtune.data.reading import first_columns
from summtune.plan.plan import ComparePlan, PromptPlan, ScoredPlan, TrainPlan, read_plan
from summtune.recipe.document import Document
from summtune.recipe.keys import CompareRecipe
from summtune.recipe.loading import load_document
from summtune.recipe.paths import resolve_evaluation, resolve_source
from summtune.recipe.scoring import load_scoring
from summtune.recipe.sections import DatasetSource, EvaluationSettings
from summtune.recipe.yaml_reader import read_yaml_file
from summtune.runs.run_directory import identity_in

ScorablePlan = PromptPlan | TrainPlan | ScoredPlan


@dataclass(frozen=True)
class Call:
    """What is scored against what, as the command line was given it; None and empty where it was not.

    Args:
        file: predictions, ``-`` for plain lines from standard input; or the rows themselves.
        references: the data set that holds the dialogues with their references; default: the file itself.
        reference_texts: of each prediction, in their order, where a program gives the texts themselves.
        dialogue_texts: the dialogue of each prediction likewise.
        prediction_field, summary_fields, dialogue_field, id_field, split: which columns and split are read.
        reference_id_field: the column with the ids of ``references`` where it is called otherwise there.
        skip_empty: whether rows of ``references`` without a dialogue or summary are skipped.
        sets: assignments to keys of the recipe's evaluation section.
        recipe: a recipe whose evaluation section, and test data, are taken.
        name: how the system is called.
    """

    file: str | GivenRows
    references: str | None = None
    reference_texts: Sequence[Sequence[str]] | None = None
    dialogue_texts: Sequence[str] | None = None
    prediction_field: str | None = None
    summary_fields: tuple[str, ...] = ()
    dialogue_field: str | None = None
    id_field: str | None = None
    reference_id_field: str | None = None
    skip_empty: bool = False
    split: str | None = None
    sets: Sequence[str] = ()
    recipe: Path | None = None
    name: str | None = None


@dataclass(frozen=True)
class Terms:
    """How outputs are scored, and against what.

    Args:
        settings: the evaluation section, paths absolute.
        sources: data sets that may hold the references; none where the file itself must.
    """

    settings: EvaluationSettings
    sources: list[DatasetSource]


def run_of(call: Call) -> ScorablePlan | None:
    """Return the plan of the run whose ``predictions.jsonl`` is scored; None for any other file.

    Raises:
        RunDirectoryError: it is a run's, and its plan cannot be read.
    """
    if isinstance(call.file, GivenRows):
        return None
    folder = Path(call.file).parent
    if Path(call.file).name != "predictions.jsonl" or not (folder / "plan.json").is_file():
        return None
    try:
        identity_in(folder)
    except RunDirectoryError:  # another program's
        return None
    plan = read_plan(folder)
    return None if isinstance(plan, ComparePlan) else plan


def terms_of(call: Call, run: ScorablePlan | None, say: Callable[[str], None]) -> Terms:
    """Return the evaluation settings and data sets of a call, checked as those of recipes are, paths absolute.

    The settings are those of the named recipe, else those of the run that the file belongs to, else the defaults.

    Args:
        call: what is scored, against what, and how.
        run: that the file belongs to.
        say: takes what a person should know about where they come from.

    Raises:
        InputError: something that the call names cannot be used.
    """
    _check_options(call)
    if call.recipe is not None:
        document = read_yaml_file(call.recipe)
        if isinstance(document.value, dict) and document.value.get("kind") == "compare":
            raise InputError(
                f"a comparison has no evaluation section (got --recipe {call.recipe}); name one of its recipes"
            )
    else:
        document = Document("summtune evaluate", {})
        if run is not None:
            document.value["evaluation"] = run.recipe.evaluation.model_dump(mode="json")
            say(f"scored with the evaluation settings of the run in {Path(str(call.file)).parent}")
    if call.references is not None:
        document.assign("test_datasets", [_source(call)], f"--references {call.references}", Path.cwd())
    sets = [f"evaluation.{each.removeprefix('evaluation.')}" for each in call.sets]
    if call.recipe is None:
        keys = load_scoring(document, sets)
        terms = _resolved(document, Path.cwd(), keys.evaluation, keys.test_datasets)
    else:
        loaded = load_document(document, call.recipe, sets)
        recipe = loaded.recipe
        assert not isinstance(recipe, CompareRecipe), "refused above"
        terms = _resolved(document, loaded.path.parent, recipe.evaluation, recipe.test_datasets)
    if call.references is None:
        return terms
    (source,) = terms.sources
    return Terms(terms.settings, [_with_columns(source, call)])


def _resolved(
    document: Document, folder: Path, settings: EvaluationSettings, sources: Sequence[DatasetSource]
) -> Terms:
    """Return the settings and sources with absolute paths.

    Raises:
        RecipeError: a path does not exist.
    """

    def folder_of(*path: str | int) -> Path:
        return document.position_of(path).folder or folder

    settings, found = resolve_evaluation(settings, folder_of)
    problems: list[Problem] = [document.problem(path, message) for path, message in found]
    resolved = []
    for at, source in enumerate(sources):
        with_path, complaints = resolve_source(source, folder_of("test_datasets", at, "path"))
        problems += [document.problem(("test_datasets", at), complaint) for complaint in complaints]
        resolved.append(with_path)
    if problems:
        raise RecipeError(problems)
    return Terms(settings, resolved)


def _check_options(call: Call) -> None:
    """Raise InputError where an option says something of a data set that is not named."""
    for option, value in (
        ("--split", call.split),
        ("--reference-id-field", call.reference_id_field),
        ("--skip-empty", call.skip_empty or None),
    ):
        if call.references is None and value is not None:
            given = option if value is True else f"{option} {value}"
            raise InputError(f"{option} is of the data set that --references names (got {given} alone)")


def _source(call: Call) -> dict[str, Any]:
    given = {
        "path": call.references,
        "dialogue_field": call.dialogue_field,
        "summary_field": list(call.summary_fields) or None,
        "id_field": call.reference_id_field or call.id_field,
        "split": call.split,
        "on_empty": "skip" if call.skip_empty else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _with_columns(source: DatasetSource, call: Call) -> DatasetSource:
    """Return the data set of ``--references`` with the columns that nobody named, found by their names."""
    if not is_local(source.path):
        return source
    names = first_columns(source, "test")
    found: dict[str, Any] = {}
    if not call.summary_fields:
        found["summary_field"] = next(iter(reference_columns(names, source.path)), source.summary_field)
    if source.id_field is None and "id" in names:
        found["id_field"] = "id"
    elif call.reference_id_field is None and call.id_field is not None and names and call.id_field not in names:
        raise InputError(
            f"{source.path} has no column {call.id_field}{hint(call.id_field, names)} (got columns: "
            f"{', '.join(names)}); name the one that holds its ids with --reference-id-field"
        )
    return source.model_copy(update=found)
