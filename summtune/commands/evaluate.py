"""Scores the outputs of any system: those of ``summtune evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError, RecipeError
from summtune.base.files import read_json, write_json, write_jsonl
from summtune.base.hashing import hash_of
from summtune.base.hints import hint
from summtune.base.places import is_local
from summtune.base.printing import say, show_json
from summtune.base.version import __version__
from summtune.commands.results import show_scores
from summtune.data.external_predictions import (
    STDIN,
    ExternalPredictions,
    GivenRows,
    PredictionColumns,
    read_external_predictions,
    reference_columns,
    with_texts,
)
from summtune.data.grouping import repeated_sentence
from summtune.data.matching import repeated_dialogues, with_dialogues, with_own_references
from summtune.data.reading import first_columns, read_dialogues
from summtune.evaluator.evaluation import Evaluation, evaluate, write_evaluation
from summtune.plan.keys import evaluation_identity
from summtune.recipe.document import Document
from summtune.recipe.keys import Recipe
from summtune.recipe.loading import load_document
from summtune.recipe.paths import resolve_paths
from summtune.recipe.sections import DatasetSource, EvaluationSettings
from summtune.recipe.yaml_reader import read_yaml_file
from summtune.runs.records import Prediction
from summtune.runs.run_directory import adopt, check_free, identity_in, leaving_nothing, locked, preparing

_KIND = "scored"
_SCORERS = ("rouge_score", "sentencex", "evaluate")


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
class Scored:
    """The outputs of a system with their scores.

    Args:
        name: of the system.
        predictions: one a dialogue.
        evaluation: their scores.
        settings: what they were scored with, paths absolute.
        file: where the predictions come from.
        references: the data sets that they were matched with; None where the file held its references.
    """

    name: str
    predictions: list[Prediction]
    evaluation: Evaluation
    settings: EvaluationSettings
    file: str
    references: str | None


def score_outputs(call: Call, output_dir: Path | None, as_json: bool) -> None:
    """Score what a system wrote and print the scores; write them to a directory where one is named."""
    if output_dir is not None:
        check_place(output_dir)
    scored = score(call, say)
    metrics = scored.evaluation.to_json()
    if output_dir is not None:
        write_scored(scored, output_dir)
    if as_json:
        show_json(metrics)
    else:
        show_scores({"name": scored.name, "metrics": metrics["metrics"]}, metrics, SafeConsole())
    if output_dir is not None:
        say(f"report: {output_dir / 'report.html'}")


def score(call: Call, say: Callable[[str], None]) -> Scored:
    """Return the scores of the predictions that ``call`` names.

    Args:
        call: what is scored, against what, and how.
        say: takes what a person should know about how things were brought together.

    Raises:
        InputError: something that the call names cannot be used.
        StageError: a metric failed.
    """
    run = _run_of(call)
    recipe = _recipe(call, run, say)
    sources = _sources(call, recipe)
    ids = (call.id_field, *(source.id_field for source in sources), "id")
    if call.reference_id_field is not None:
        ids = (call.id_field, "id", call.reference_id_field)
    columns = PredictionColumns(
        prediction=call.prediction_field,
        ids=tuple(dict.fromkeys(name for name in ids if name)),
        dialogue=call.dialogue_field,
        summaries=call.summary_fields,
    )
    own_references = call.references is None and call.reference_texts is None
    outputs = read_external_predictions(call.file, columns, with_references=own_references)
    outputs = with_texts(outputs, call.reference_texts, call.dialogue_texts)
    own_ids = not outputs.lines and (call.references is None or call.reference_id_field is not None)
    if own_ids and call.id_field is not None and call.id_field not in outputs.columns:
        raise InputError(
            f"{outputs.shown} has no column {call.id_field}{hint(call.id_field, outputs.columns)} (got columns: "
            f"{', '.join(outputs.columns)}); name the one that holds the ids with --id-field"
        )
    if call.references is None and outputs.have_references:
        if call.recipe is not None:
            say(f"the references in {outputs.shown} are used, not the test data of {call.recipe}")
        predictions, used = with_own_references(outputs), None
        if repeated := repeated_dialogues(outputs):
            say(f"{outputs.shown}: {repeated_sentence(repeated)}; each is scored as a dialogue of its own")
    else:
        predictions, used = _matched(outputs, sources, say)
    return Scored(
        name=call.name or _name(call, run),
        predictions=predictions,
        evaluation=evaluate(predictions, recipe.evaluation),
        settings=recipe.evaluation,
        file=_origin(call.file),
        references=used,
    )


def write_scored(scored: Scored, into: Path) -> None:
    """Write a directory that stands beside run directories in comparisons and reports, its report included.

    Raises:
        RunDirectoryError: ``into`` holds anything else, or another command works in it.
    """
    from summtune.report import write_run_report

    evaluation = {"evaluation": scored.settings.model_dump(mode="json")}
    identity = hash_of(
        [
            scored.evaluation.ids_sha256,
            scored.evaluation.outputs_sha256,
            {"evaluation": evaluation_identity(evaluation["evaluation"])},
        ]
    )
    plan = {
        "kind": _KIND,
        "name": scored.name,
        "identity": identity,
        "versions": {"summtune": __version__} | {package: version(package) for package in _SCORERS},
        "recipe": evaluation | {"predictions": scored.file, "references": scored.references},
    }
    check_free(into, identity)
    with leaving_nothing(into), locked(into):
        with preparing(into) as prepared:
            write_jsonl(prepared / "predictions.jsonl", (prediction.to_json() for prediction in scored.predictions))
            unknown = {"trainable_parameters": None, "total_parameters": None}
            write_json(prepared / "prediction_stats.json", unknown)
            write_evaluation(prepared, scored.evaluation)
            write_json(prepared / "plan.json", plan)
            adopt(prepared, into)
        write_run_report(into)


def check_place(into: Path) -> None:
    """Raise RunDirectoryError where ``into`` holds what is no run, before time is spent on scores."""
    identity_in(into)


def _run_of(call: Call) -> dict[str, Any] | None:
    """Return the plan of the run whose ``predictions.jsonl`` is scored; None for any other file."""
    if isinstance(call.file, GivenRows):
        return None
    path = Path(call.file)
    if path.name != "predictions.jsonl" or not (path.parent / "plan.json").is_file():
        return None
    try:
        plan: dict[str, Any] = read_json(path.parent / "plan.json")
        return plan if isinstance(plan["name"], str) and isinstance(plan["recipe"]["evaluation"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _name(call: Call, run: dict[str, Any] | None) -> str:
    if run is not None:
        return str(run["name"])
    if isinstance(call.file, GivenRows):
        return call.file.shown
    return "standard input" if call.file == STDIN else Path(call.file).stem


def _origin(file: str | GivenRows) -> str:
    """Return where predictions come from, as the plan of scored outputs holds it."""
    if isinstance(file, GivenRows):
        return file.shown
    return file if file == STDIN else str(Path(file).absolute())


def _recipe(call: Call, run: dict[str, Any] | None, say: Callable[[str], None]) -> Recipe:
    """Return a recipe with the call's evaluation section and test data, checked as recipes are, paths absolute.

    The section is that of the named recipe, else that of the run that the file belongs to, else the defaults.
    """
    if call.recipe is not None:
        document = read_yaml_file(call.recipe)
        if isinstance(document.value, dict) and document.value.get("kind") == "compare":
            raise InputError(
                f"a comparison has no evaluation section (got --recipe {call.recipe}); name one of its recipes"
            )
    else:
        # The least that a recipe needs; nothing but its evaluation section and its test data is looked at.
        least = {
            "kind": "prompt",
            "base_model": "builtin/flan-t5-nano",
            "test_datasets": [{"path": "builtin/dialogues"}],
        }
        document = Document("summtune evaluate", least | {"evaluation": run["recipe"]["evaluation"] if run else {}})
    if run is not None and call.recipe is None:
        say(f"scored with the evaluation settings of the run in {Path(str(call.file)).parent}")
    if call.references is not None:
        document.assign("test_datasets", [_source(call)], f"--references {call.references}", Path.cwd())
    sets = [f"evaluation.{each.removeprefix('evaluation.')}" for each in call.sets]
    loaded = load_document(document, call.recipe or Path.cwd() / "evaluate.yaml", sets)
    recipe, problems = resolve_paths(loaded)
    if problems:
        raise RecipeError(problems)
    return recipe


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


def _sources(call: Call, recipe: Recipe) -> list[DatasetSource]:
    """Return the data sets that may hold the references; columns that nobody named are found by their names."""
    for option, value in (
        ("--split", call.split),
        ("--reference-id-field", call.reference_id_field),
        ("--skip-empty", call.skip_empty or None),
    ):
        if call.references is None and value is not None:
            given = option if value is True else f"{option} {value}"
            raise InputError(f"{option} is of the data set that --references names (got {given} alone)")
    if call.references is None:
        return list(recipe.test_datasets or ()) if call.recipe is not None else []
    assert recipe.test_datasets is not None
    (source,) = recipe.test_datasets
    if not is_local(source.path):
        return [source]
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
    return [source.model_copy(update=found)]


def _matched(
    outputs: ExternalPredictions, sources: Sequence[DatasetSource], say: Callable[[str], None]
) -> tuple[list[Prediction], str]:
    """Return the predictions, one for each dialogue of ``sources``, and what to call those."""
    if not sources:
        what = "plain text" if outputs.lines else f"columns: {', '.join(outputs.columns)}"
        raise InputError(
            f"{outputs.shown} holds no references (got {what}); name the data set that holds them with --references"
            f"{'' if outputs.lines else ', or their column with --summary-field'}"
        )
    reading = read_dialogues(sources, "test")
    references = ", ".join(source.path for source in sources)
    predictions = with_dialogues(outputs, reading, references)
    if reading.skipped_sentence:
        say(reading.skipped_sentence)
    if reading.repeated_ids:
        say(f"{references}: {repeated_sentence(reading.repeated_ids)}; their references count for that dialogue")
    if reading.doubled_references:
        say(f"{reading.doubled_references:,} references of {references} stand twice for one dialogue, and count once")
    how = "id" if outputs.have_ids else "order"
    count = f"{len(predictions):,} prediction{'s' if len(predictions) > 1 else ''}"
    say(f"{count}, matched by {how} with the dialogues of {references}")
    return predictions, references
