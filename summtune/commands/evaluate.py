"""Scores the outputs of any system, for ``summtune evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError
from summtune.base.files import write_json, write_jsonl
from summtune.base.hashing import hash_of
from summtune.base.printing import say, show_json
from summtune.base.version import __version__
from summtune.commands.evaluate_terms import Call, ScorablePlan, run_of, terms_of
from summtune.commands.results import show_scores
from summtune.data.external_predictions import (
    STDIN,
    ExternalPredictions,
    GivenRows,
    PredictionColumns,
    read_external_predictions,
    with_texts,
)
from summtune.data.grouping import repeated_sentence
from summtune.data.matching import repeated_dialogues, with_own_references
from summtune.data.outputs import check_column, matched_outputs
from summtune.data.reading import read_dialogues
from summtune.evaluator.evaluation import Evaluation, evaluate, write_evaluation
from summtune.plan.beginning import origin_now
from summtune.plan.plan import ScoredPlan, Scoring
from summtune.recipe.sections import DatasetSource
from summtune.runs.cost import COST_FILE, UNKNOWN_COST
from summtune.runs.records import Prediction
from summtune.runs.run_directory import (
    adopt,
    check_free,
    forget,
    identity_in,
    leaving_nothing,
    locked,
    mark_complete,
    preparing,
)
from summtune.runs.statistics import STATS_FILE, PredictionStats

_SCORERS = ("rouge_score", "sentencex", "evaluate")
SCORED_STAGES = ("predict", "evaluate", "report")
"""The stages that are complete once outputs are scored; the report is written again for another version of summtune."""


@dataclass(frozen=True)
class Scored:
    """The outputs of a system with their scores.

    Args:
        name: of the system.
        predictions: one per dialogue.
        evaluation: their scores.
        scoring: the evaluation settings, paths absolute, and what was scored.
    """

    name: str
    predictions: list[Prediction]
    evaluation: Evaluation
    scoring: Scoring


def score_outputs(call: Call, output_dir: Path | None, as_json: bool) -> None:
    """Score the outputs of a system and print the scores; also write them to ``output_dir`` if it is given."""
    if output_dir is not None:
        check_place(output_dir)
    scored = score(call, say)
    if output_dir is not None:
        write_scored(scored, output_dir)
    if as_json:
        show_json(scored.evaluation.scores.to_json())
    else:
        show_scores(scored.name, scored.evaluation.scores, SafeConsole())
    if output_dir is not None:
        say(f"report: {output_dir / 'report.html'}")


def score(call: Call, say: Callable[[str], None]) -> Scored:
    """Return the scores of the predictions that ``call`` names.

    Args:
        call: what to score, against which references, and how.
        say: reports how predictions and references were matched.

    Raises:
        InputError: a file, column or setting that the call names cannot be used.
        StageError: a metric failed.
    """
    run = run_of(call)
    terms = terms_of(call, run, say)
    sources = terms.sources
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
    if not outputs.lines and (call.references is None or call.reference_id_field is not None):
        check_column(outputs, "id_field", call.id_field)
    if call.references is None and outputs.have_references:
        if call.recipe is not None:
            say(f"using the references in {outputs.shown}, not the test data of {call.recipe}")
        predictions, used = with_own_references(outputs), None
        if repeated := repeated_dialogues(outputs):
            say(f"{outputs.shown}: {repeated_sentence(repeated)}; each is scored as a separate dialogue")
    else:
        predictions, used = _matched(outputs, sources, say)
    return Scored(
        name=call.name or _name(call, run),
        predictions=predictions,
        evaluation=evaluate(predictions, terms.settings),
        scoring=Scoring(evaluation=terms.settings, predictions=_origin(call.file), references=used),
    )


def write_scored(scored: Scored, into: Path, identity: str | None = None) -> None:
    """Write a directory, with its report, that ``compare`` and ``report`` read like a run directory.

    Args:
        scored: what to write.
        into: the directory.
        identity: of what was scored; by default a hash of the outputs and the evaluation settings.

    Raises:
        RunDirectoryError: ``into`` contains something else, or another command is using it.
    """
    from summtune.report import write_run_report

    evaluation = scored.evaluation
    identity = identity or hash_of(
        [
            evaluation.scores.ids_sha256,
            evaluation.scores.outputs_sha256,
            {"evaluation": scored.scoring.evaluation.model_dump(mode="json")},
        ]
    )
    origin = dict(origin_now(Path.cwd(), _SCORERS))
    plan = ScoredPlan(name=scored.name, identity=identity, recipe=scored.scoring, **origin)
    check_free(into, identity)
    with leaving_nothing(into), locked(into):
        forget(into, SCORED_STAGES)
        with preparing(into) as prepared:
            write_jsonl(prepared / "predictions.jsonl", (prediction.to_json() for prediction in scored.predictions))
            unknown = PredictionStats(trainable_parameters=None, total_parameters=None)
            write_json(prepared / STATS_FILE, unknown.to_json())
            write_json(prepared / COST_FILE, UNKNOWN_COST.to_json())
            write_evaluation(prepared, evaluation)
            write_json(prepared / "plan.json", plan.to_json())
            adopt(prepared, into)
        write_run_report(into)
        for stage in SCORED_STAGES:
            mark_complete(into, stage, __version__ if stage == "report" else None)


def check_place(into: Path) -> None:
    """Raise RunDirectoryError if ``into`` contains something other than a run, before time is spent on scores."""
    identity_in(into)


def _name(call: Call, run: ScorablePlan | None) -> str:
    if run is not None:
        return run.name
    if isinstance(call.file, GivenRows):
        return call.file.shown
    return "standard input" if call.file == STDIN else Path(call.file).stem


def _origin(file: str | GivenRows) -> str:
    """Return the source of the predictions, as the plan of scored outputs records it."""
    if isinstance(file, GivenRows):
        return file.shown
    return file if file == STDIN else str(Path(file).absolute())


def _matched(
    outputs: ExternalPredictions, sources: Sequence[DatasetSource], say: Callable[[str], None]
) -> tuple[list[Prediction], str]:
    """Return the predictions, one for each dialogue of ``sources``, and the name of the sources in messages."""
    if not sources:
        what = "plain text" if outputs.lines else f"columns: {', '.join(outputs.columns)}"
        raise InputError(
            f"{outputs.shown} contains no references (got {what}); name the data set with the references with "
            f"--references{'' if outputs.lines else ', or their column with --summary-field'}"
        )
    matched = matched_outputs(outputs, sources, read_dialogues(sources, "test"))
    for note in (*matched.of_data, *matched.of_match):
        say(note)
    return matched.predictions, ", ".join(source.path for source in sources)
