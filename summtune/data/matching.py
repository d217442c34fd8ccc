"""Matches external predictions with the dialogues they are scored on: strictly by id, or by order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from summtune.base.errors import DataError
from summtune.data.external_predictions import ExternalPrediction, ExternalPredictions
from summtune.data.grouping import RepeatedId, repeated_sentence
from summtune.data.reading import LoadedDialogues, read_dialogues
from summtune.recipe.sections import DatasetSource
from summtune.runs.records import Dialogue, Prediction

_NAMED = 5
"""Number of ids of each kind that an error lists."""


def with_own_references(external: ExternalPredictions) -> list[Prediction]:
    """Return the predictions of rows that contain their references; rows without ids get ``row_0``, ``row_1``, …

    Raises:
        DataError: several rows have the same id.
    """
    doubled = _doubled(external)
    if doubled:
        raise DataError(
            f"{external.shown} has several predictions for one id (got {_listed(doubled)}); give each dialogue one"
        )
    return [
        _prediction(output, Dialogue(_own_id(output, number), output.dialogue or "", output.references or ()))
        for number, output in enumerate(external.rows)
    ]


def with_dialogues(external: ExternalPredictions, loaded: LoadedDialogues, references: str) -> list[Prediction]:
    """Return one prediction for each dialogue, in the order of the dialogues.

    Rows with ids are matched by id, in any order. Lines, and rows that contain their dialogue instead of an id, are
    matched by order, and there must be exactly one per dialogue. A dialogue in a row must equal its match.

    Args:
        external: the predictions.
        loaded: the data set, rows of one dialogue grouped.
        references: the data set's name in messages.

    Raises:
        DataError: ids are missing, duplicate or unknown, the numbers differ, a row has another dialogue, or the rows
            have neither ids nor dialogues.
    """
    dialogues = loaded.dialogues
    if not external.lines and not external.have_ids and external.rows[0].dialogue is None:
        raise DataError(
            f"the rows of {external.shown} have neither ids nor dialogues (got columns: "
            f"{', '.join(external.columns)}); name the column of their ids with {external.spelled('id_field')}, or "
            "write plain text, one prediction per line, which is matched by order"
        )
    rows = _by_id(external, loaded, references) if external.have_ids else _in_order(external, loaded, references)
    for output, dialogue in zip(rows, dialogues, strict=True):
        if (output.dialogue or "").strip() not in ("", dialogue.dialogue.strip()):
            raise DataError(
                f"{output.position}: not the dialogue that {references} has under the id {dialogue.id} (got "
                f"{str(output.dialogue)[:40]!r} instead of {dialogue.dialogue[:40]!r}); correct it, or remove the "
                "column"
            )
    return [_prediction(output, dialogue) for output, dialogue in zip(rows, dialogues, strict=True)]


def within_limits(
    external: ExternalPredictions, sources: Sequence[DatasetSource], loaded: LoadedDialogues
) -> ExternalPredictions:
    """Return the predictions without those for dialogues that only the ``limit`` of a data set leaves out.

    Args:
        external: the predictions.
        sources: the data sets.
        loaded: their dialogues.

    Raises:
        DataError: a data set cannot be read beyond its limit.
    """
    wanted = len(loaded.dialogues)
    if len(external.rows) <= wanted or all(source.limit is None for source in sources):
        return external
    whole = read_dialogues([source.model_copy(update={"limit": None}) for source in sources], "test").dialogues
    rows: Sequence[ExternalPrediction] = external.rows
    if external.have_ids:
        beyond = {dialogue.id for dialogue in whole} - {dialogue.id for dialogue in loaded.dialogues}
        rows = [row for row in external.rows if row.id not in beyond]
    elif len(external.rows) == len(whole):
        row_of = {each.dialogue.strip(): row for each, row in zip(whole, external.rows, strict=True)}
        rows = [row_of[each.dialogue.strip()] for each in loaded.dialogues]
    return replace(external, rows=tuple(rows)) if rows else external


def repeated_dialogues(external: ExternalPredictions) -> list[RepeatedId]:
    """Return the rows with the dialogue of an earlier row but another id; rows without ids or dialogues are ignored."""
    first: dict[str, ExternalPrediction] = {}
    repeated = []
    for output in external.rows:
        if output.id is not None and output.dialogue and not output.dialogue.isspace():
            earlier = first.setdefault(output.dialogue.strip(), output)
            if earlier.id is not None and earlier.id != output.id:
                repeated.append(RepeatedId(output.id, output.position, earlier.id, earlier.position))
    return repeated


def _by_id(external: ExternalPredictions, loaded: LoadedDialogues, references: str) -> list[ExternalPrediction]:
    by_id = {str(output.id): output for output in external.rows}
    known = {dialogue.id for dialogue in loaded.dialogues}
    first_of = {repeated.id: repeated.first_id for repeated in loaded.repeated_ids}
    foreign = [output for output in external.rows if output.id not in known]
    repeating = "repeating the dialogue of an earlier id"
    found = {
        "missing": [dialogue.id for dialogue in loaded.dialogues if dialogue.id not in by_id],
        "foreign": [_at(output) for output in foreign if output.id not in first_of],
        repeating: [f"{_at(output)} for {first_of[output.id]}" for output in foreign if output.id in first_of],
        "doubled": _doubled(external),
    }
    wrong = "; ".join(f"{len(ids):,} {sort}: {_listed(ids)}" for sort, ids in found.items() if ids)
    if wrong:
        column = external.spelled("id_field")
        advice = f"correct the ids, or choose their column with {column}"
        if len(foreign) == len(external.rows):
            advice = (
                f"correct the ids, or choose the column that has them: here with {column}, in {references} with "
                f"{external.spelled('reference_id_field')}"
            )
        if found[repeating] and sum(map(bool, found.values())) == 1:
            advice = "keep the predictions of the earlier ids"
        raise DataError(
            f"{external.shown} does not have one prediction for each id of the {len(loaded.dialogues):,} dialogues of "
            f"{references} (got {wrong}); {advice}"
        )
    return [by_id[dialogue.id] for dialogue in loaded.dialogues]


def _in_order(external: ExternalPredictions, loaded: LoadedDialogues, references: str) -> Sequence[ExternalPrediction]:
    given, wanted = len(external.rows), len(loaded.dialogues)
    if given != wanted:
        unit = ("line" if external.lines else "row") + ("s" if given > 1 else "")
        raise DataError(
            f"{external.shown} has {given:,} {unit}, and {references} has {wanted:,} dialogues "
            f"(got {abs(given - wanted):,} too {'many' if given > wanted else 'few'}){_why(external, loaded)}"
        )
    return external.rows


def _why(external: ExternalPredictions, loaded: LoadedDialogues) -> str:
    """Return the likely reason why the numbers differ, and what to do."""
    given, wanted = len(external.rows), len(loaded.dialogues)
    if given == loaded.rows and loaded.repeated_rows:
        which = f" ({repeated_sentence(loaded.repeated_ids)})" if loaded.repeated_ids else ""
        return (
            f"; its {loaded.rows:,} rows repeat dialogues, whose references are grouped{which}: keep one prediction "
            "per dialogue, in the order in which the dialogues first appear"
        )
    if external.lines and given > wanted and not any(row.prediction.strip() for row in external.rows[wanted:]):
        return "; the lines after the last dialogue are blank, and count as empty predictions: remove them"
    if external.lines:
        return "; write one prediction per line, without line feeds inside, and a blank line for an empty one"
    return "; give the rows ids, or write one row for each dialogue"


def _prediction(output: ExternalPrediction, dialogue: Dialogue) -> Prediction:
    return Prediction(
        id=dialogue.id,
        dialogue=dialogue.dialogue,
        prediction=output.prediction,
        references=dialogue.references,
        prompt_tokens=output.prompt_tokens,
        new_tokens=output.new_tokens,
        truncated=output.truncated,
        hit_length_cap=output.hit_length_cap,
    )


def _own_id(output: ExternalPrediction, number: int) -> str:
    return output.id if output.id is not None else f"row_{number}"


def _doubled(external: ExternalPredictions) -> list[str]:
    """Return the ids that an earlier row already has, with their positions."""
    seen: set[str | None] = {None}
    found = []
    for output in external.rows:
        if output.id is not None and output.id in seen:
            found.append(_at(output))
        seen.add(output.id)
    return found


def _at(output: ExternalPrediction) -> str:
    return f"{output.id} ({output.position.unit} {output.position.number})"


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
