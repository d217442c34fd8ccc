"""Reads the outputs of an external system for the dialogues of data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from summtune.base.errors import DataError
from summtune.base.hints import hint
from summtune.base.numbers import counted
from summtune.data.external_predictions import (
    ExternalPredictions,
    PredictionColumns,
    as_key,
    read_external_predictions,
)
from summtune.data.grouping import repeated_sentence
from summtune.data.matching import with_dialogues, within_limits
from summtune.data.reading import LoadedDialogues
from summtune.recipe.sections import ComparedPredictions, DatasetSource
from summtune.runs.records import Prediction


@dataclass(frozen=True)
class MatchedOutputs:
    """Outputs with the dialogues and references that they belong to.

    Args:
        predictions: one for each dialogue, in the order of the dialogues.
        of_data: what was skipped or grouped in the data sets, a sentence each.
        of_match: what was left out, and how they were matched, likewise.
    """

    predictions: list[Prediction]
    of_data: tuple[str, ...]
    of_match: tuple[str, ...]


def read_outputs(entry: ComparedPredictions, sources: Sequence[DatasetSource]) -> ExternalPredictions:
    """Return the content of a file of outputs that a comparison names; references in it are not read.

    Args:
        entry: the file, its path absolute, and its columns.
        sources: the data sets whose dialogues it is for.

    Raises:
        DataError: the file cannot be read, is empty, lacks a column, or rows of it cannot be used.
    """
    ids = [source.id_field for source in sources if source.id_field] + ["id"]
    columns = PredictionColumns(
        prediction=entry.prediction_field,
        ids=tuple(dict.fromkeys(ids)) if entry.id_field is None else (entry.id_field,),
        dialogue=entry.dialogue_field,
        spelled=as_key,
    )
    outputs = read_external_predictions(entry.predictions, columns, with_references=False)
    for key, name in (("id_field", entry.id_field), ("dialogue_field", entry.dialogue_field)):
        check_column(outputs, key, name)
    return outputs


def check_column(outputs: ExternalPredictions, key: str, name: str | None) -> None:
    """Check that the outputs have the column that ``key`` names; None names none.

    Raises:
        DataError: they do not.
    """
    if name is not None and name not in outputs.columns:
        raise DataError(
            f"{outputs.shown} has no column {name}{hint(name, outputs.columns)} (got columns: "
            f"{', '.join(outputs.columns)}); choose the column with {outputs.spelled(key)}"
        )


def matched_outputs(
    outputs: ExternalPredictions, sources: Sequence[DatasetSource], loaded: LoadedDialogues
) -> MatchedOutputs:
    """Return the outputs matched with the dialogues of data sets: strictly by id, or by order.

    Args:
        outputs: the content of their file.
        sources: the data sets.
        loaded: their dialogues.

    Raises:
        DataError: there is not exactly one for each dialogue; see `summtune.data.matching.with_dialogues`.
    """
    references = ", ".join(source.path for source in sources)
    within = within_limits(outputs, sources, loaded)
    predictions = with_dialogues(within, loaded, references)
    of_data = [loaded.skipped_sentence, loaded.system_sentence]
    if loaded.repeated_ids:
        repeated = repeated_sentence(loaded.repeated_ids)
        of_data.append(f"{references}: {repeated}; their references count for that dialogue")
    if loaded.doubled_references:
        doubled = counted(loaded.doubled_references, "repeated reference")
        of_data.append(f"{doubled} in {references}; each counts once")
    of_match = []
    if left_out := len(outputs.rows) - len(within.rows):
        of_match.append(f"left out {counted(left_out, 'prediction')} for dialogues beyond the limit of {references}")
    how = "id" if outputs.have_ids else "order"
    of_match.append(f"{counted(len(predictions), 'prediction')} matched with the dialogues of {references} by {how}")
    return MatchedOutputs(predictions, tuple(filter(None, of_data)), tuple(of_match))
