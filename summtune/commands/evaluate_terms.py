"""Resolves the options of ``summtune evaluate`` into evaluation settings and data sets of references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.errors import InputError, Problem, RecipeError, RunDirectoryError
from summtune.base.hints import hint
from summtune.base.places import is_local
from summtune.data.external_predictions import GivenRows, reference_columns
from summtune.data.reading import first_columns
from summtune.plan.plan import ComparePlan, RunPlan, ScoredPlan, read_plan
from summtune.recipe.document import Document
from summtune.recipe.keys import CompareRecipe
from summtune.recipe.loading import LoadedRecipe, load_document
from summtune.recipe.overriding import Setting
from summtune.recipe.paths import resolve_evaluation, resolve_source
from summtune.recipe.scoring import LoadedScoring, load_scoring
from summtune.recipe.sections import DatasetSource, EvaluationSettings
from summtune.recipe.yaml_reader import read_yaml_file
from summtune.runs.run_directory import identity_in

ScorablePlan: TypeAlias = RunPlan | ScoredPlan


@dataclass(frozen=True)
class Call:
    """The arguments of ``summtune evaluate``; an argument that was not given is None or empty.

    Args:
        file: with the predictions; ``-`` for plain lines from standard input; or the rows themselves.
        references: the data set with the dialogues and their references; default: the file itself.
        reference_texts: the references of each prediction, in the same order, if a program passes the texts.
        dialogue_texts: the dialogue of each prediction, likewise.
        prediction_field, summary_fields, dialogue_field, id_field, split: the columns and the split to read.
        messages_field: the column of ``references`` with chat messages, which hold dialogue and summary.
        reference_id_field: the column with the ids in ``references`` if it has another name there.
        skip_empty: whether rows of ``references`` without a dialogue or summary are skipped.
        sets: assignments to keys of the evaluation section.
        recipe: a recipe whose evaluation section and test data are used.
        name: of the system, in tables.
    """

    file: str | GivenRows
    references: str | None = None
    reference_texts: Sequence[Sequence[str]] | None = None
    dialogue_texts: Sequence[str] | None = None
    prediction_field: str | None = None
    summary_fields: tuple[str, ...] = ()
    dialogue_field: str | None = None
    messages_field: str | None = None
    id_field: str | None = None
    reference_id_field: str | None = None
    skip_empty: bool = False
    split: str | None = None
    sets: Sequence[str | Setting] = ()
    recipe: Path | None = None
    name: str | None = None


@dataclass(frozen=True)
class Terms:
    """The evaluation settings and the data sets of references.

    Args:
        settings: the evaluation section, paths absolute.
        sources: data sets with references; empty if only the file itself can contain them.
    """

    settings: EvaluationSettings
    sources: list[DatasetSource]


def run_of(call: Call) -> ScorablePlan | None:
    """Return the plan of the run to which the scored ``predictions.jsonl`` belongs; None for any other file.

    Raises:
        RunDirectoryError: the file belongs to a run whose plan cannot be read.
    """
    if isinstance(call.file, GivenRows):
        return None
    folder = Path(call.file).parent
    if Path(call.file).name != "predictions.jsonl" or not (folder / "plan.json").is_file():
        return None
    try:
        identity_in(folder)
    except RunDirectoryError:  # a plan.json of another program
        return None
    plan = read_plan(folder)
    return None if isinstance(plan, ComparePlan) else plan


def terms_of(call: Call, run: ScorablePlan | None, say: Callable[[str], None]) -> Terms:
    """Return the evaluation settings and data sets of a call, checked like those of a recipe.

    The settings are those of the named recipe, else those of the run to which the file belongs, else the defaults.

    Args:
        call: what to score, against which references, and how.
        run: to which the file belongs.
        say: reports which settings are used.

    Raises:
        InputError: a file, column or setting that the call names cannot be used.
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
            say(f"using the evaluation settings of the run in {Path(str(call.file)).parent}")
    if call.references is not None:
        document.assign("test_datasets", [_source(call)], f"--references {call.references}", Path.cwd())
    sets = [
        each if isinstance(each, Setting) else f"evaluation.{each.removeprefix('evaluation.')}" for each in call.sets
    ]
    loaded: LoadedRecipe | LoadedScoring
    if call.recipe is None:
        loaded = load_scoring(document, sets)
        terms = _resolved(loaded.document, Path.cwd(), loaded.keys.evaluation, loaded.keys.test_datasets)
    else:
        loaded = load_document(document, call.recipe, sets)
        recipe = loaded.recipe
        assert not isinstance(recipe, CompareRecipe), "refused above"
        terms = _resolved(loaded.document, loaded.path.parent, recipe.evaluation, recipe.test_datasets)
    for sentence in loaded.document.displaced:
        say(sentence)
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
    """Raise InputError if an option describes a data set that is not named."""
    for option, value in (
        ("--split", call.split),
        ("--messages-field", call.messages_field),
        ("--reference-id-field", call.reference_id_field),
        ("--skip-empty", call.skip_empty or None),
    ):
        if call.references is None and value is not None:
            given = option if value is True else f"{option} {value}"
            raise InputError(f"{option} needs --references (got {given} alone); name the data set that it describes")
    if call.messages_field is not None and call.summary_fields:
        raise InputError(
            f"--summary-field has no effect with --messages-field (got {call.summary_fields[0]} and "
            f"{call.messages_field}); leave one out"
        )


def _source(call: Call) -> dict[str, Any]:
    in_messages = call.messages_field is not None
    given = {
        "path": call.references,
        "type": "messages" if in_messages else None,
        "messages_field": call.messages_field,
        "dialogue_field": None if in_messages else call.dialogue_field,  # it may also name the predictions' column
        "summary_field": list(call.summary_fields) or None,
        "id_field": call.reference_id_field or call.id_field,
        "split": call.split,
        "on_empty": "skip" if call.skip_empty else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _with_columns(source: DatasetSource, call: Call) -> DatasetSource:
    """Return the data set of ``--references``, its unnamed columns found by their usual names."""
    if not is_local(source.path):
        return source
    names = first_columns(source, "test")
    found: dict[str, Any] = {}
    if not call.summary_fields and source.type == "columns":
        found["summary_field"] = next(iter(reference_columns(names, source.path)), source.summary_field)
    if source.id_field is None and "id" in names:
        found["id_field"] = "id"
    elif call.reference_id_field is None and call.id_field is not None and names and call.id_field not in names:
        raise InputError(
            f"{source.path} has no column {call.id_field}{hint(call.id_field, names)} (got columns: "
            f"{', '.join(names)}); name the column with its ids with --reference-id-field"
        )
    return source.model_copy(update=found)
