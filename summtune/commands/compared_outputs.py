"""Scores a file of outputs that a comparison takes as a system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from summtune.base.hashing import content_sha256
from summtune.base.version import __version__
from summtune.commands.evaluate import SCORED_STAGES, Scored, write_scored
from summtune.commands.pipeline import Display
from summtune.data.outputs import MatchedOutputs, matched_outputs, read_outputs
from summtune.data.reading import read_dialogues
from summtune.plan.draft import ScoredDraft
from summtune.plan.outputs import CheckedOutputs
from summtune.plan.plan import Scoring
from summtune.plan.preparation import on_the_hub
from summtune.runs.run_directory import check_free, is_complete, locked, mark_complete


def score_compared(draft: ScoredDraft, display: Display, fresh: bool = False) -> Path:
    """Score a file of outputs unless this was done before; return its run directory.

    Args:
        draft: of what to score.
        display: shows the progress.
        fresh: score it again.

    Raises:
        DataError: the outputs do not fit the test data, which was on the hub.
        RunDirectoryError: the directory contains something else, or another command is using it.
        StageError: a metric failed.
    """
    run_dir = draft.run_dir
    if fresh or not is_scored(draft):
        write_scored(_scored(draft.outputs, display), run_dir, draft.identity)
        return run_dir
    display.stage("evaluate", "already complete")
    if is_complete(run_dir, "report", __version__):
        display.stage("report", "already complete")
    else:
        _report_again(run_dir, display)
    return run_dir


def is_scored(draft: ScoredDraft) -> bool:
    """Return whether the scores of a file of outputs are complete.

    Raises:
        RunDirectoryError: the directory contains something else.
    """
    known = check_free(draft.run_dir, draft.identity)
    return known and all(is_complete(draft.run_dir, stage) for stage in SCORED_STAGES if stage != "report")


def outputs_of(outputs: CheckedOutputs, say: Callable[[str], None]) -> MatchedOutputs:
    """Return the outputs in a file, matched with the test data; ``say`` shows how.

    Raises:
        DataError: one of them cannot be read, or they do not fit together.
    """
    sources = outputs.like.test_datasets
    matched = matched_outputs(read_outputs(outputs.entry, sources), sources, read_dialogues(sources, "test"))
    for note in matched.of_match:  # what there is to say of the data, the run of the recipe says
        say(note)
    return matched


def _scored(outputs: CheckedOutputs, display: Display) -> Scored:
    from summtune.evaluator.evaluation import evaluate

    entry, like = outputs.entry, outputs.like
    display.stage("data", f"reading {entry.predictions}", shows_itself=on_the_hub(like))
    matched = outputs_of(outputs, lambda note: display.stage("data", note))
    display.stage("evaluate", "running")
    scoring = Scoring(
        evaluation=like.evaluation,
        predictions=entry.predictions,
        references=", ".join(source.path for source in like.test_datasets),
        prediction_field=entry.prediction_field,
        id_field=entry.id_field,
        predictions_sha256=content_sha256(Path(entry.predictions)),
    )
    return Scored(outputs.name, matched.predictions, evaluate(matched.predictions, like.evaluation), scoring)


def _report_again(run_dir: Path, display: Display) -> None:
    from summtune.report import write_run_report

    display.stage("report", "running")
    with locked(run_dir):
        write_run_report(run_dir)
        mark_complete(run_dir, "report", __version__)
