"""Brings what a system wrote together with the dialogues it is scored on: strictly by id, or by order."""

from __future__ import annotations

from collections.abc import Sequence

from summtune.base.errors import DataError
from summtune.data.external_predictions import ExternalPrediction, ExternalPredictions
from summtune.data.grouping import RepeatedId, repeated_sentence
from summtune.data.reading import LoadedDialogues
from summtune.runs.records import Dialogue, Prediction

_NAMED = 5
"""Ids that an error names of each sort."""


def with_own_references(external: ExternalPredictions) -> list[Prediction]:
    """Return the predictions of rows that hold their references; rows without ids are called ``row_0``, ``row_1``, …

    Raises:
        DataError: an id stands on several rows.
    """
    doubled = _doubled(external)
    if doubled:
        raise DataError(
            f"{external.shown} has several predictions of one id (got {_listed(doubled)}); give each dialogue one"
        )
    return [
        _prediction(output, Dialogue(_own_id(output, number), output.dialogue or "", output.references or ()))
        for number, output in enumerate(external.rows)
    ]


def with_dialogues(external: ExternalPredictions, loaded: LoadedDialogues, references: str) -> list[Prediction]:
    """Return one prediction for each dialogue, in the order of the dialogues.

    Rows with ids are matched by them, whatever their order. Lines, and rows that hold their dialogue instead of an id,
    are matched by order, and must be as many as the dialogues. A dialogue in a row must be the one it is matched with.

    Args:
        external: what the system wrote.
        loaded: the data set, rows of one dialogue grouped.
        references: what messages call the data set.

    Raises:
        DataError: ids are missing, doubled or foreign, the numbers differ, a row is of another dialogue, or nothing in
            the rows says which dialogues they are of.
    """
    dialogues = loaded.dialogues
    if not external.lines and not external.have_ids and external.rows[0].dialogue is None:
        raise DataError(
            f"nothing says which dialogues the rows of {external.shown} are of (got columns: "
            f"{', '.join(external.columns)}); name the column of their ids with --id-field, or write plain text, one "
            "prediction a line, which is matched by order"
        )
    rows = _by_id(external, loaded, references) if external.have_ids else _in_order(external, loaded, references)
    for output, dialogue in zip(rows, dialogues, strict=True):
        if (output.dialogue or "").strip() not in ("", dialogue.dialogue.strip()):
            raise DataError(
                f"{output.position}: another dialogue than that of {references} with the id {dialogue.id} (got "
                f"{str(output.dialogue)[:40]!r} instead of {dialogue.dialogue[:40]!r}); match them, or remove the "
                "column"
            )
    return [_prediction(output, dialogue) for output, dialogue in zip(rows, dialogues, strict=True)]


def repeated_dialogues(external: ExternalPredictions) -> list[RepeatedId]:
    """Return the rows that hold the dialogue of an earlier row under another id, of rows with ids and dialogues."""
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
        advice = "correct the ids, or name their column with --id-field"
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
    """Return what most likely makes the numbers differ, and what to do."""
    given, wanted = len(external.rows), len(loaded.dialogues)
    if given == loaded.rows and loaded.repeated_rows:
        which = f" ({repeated_sentence(loaded.repeated_ids)})" if loaded.repeated_ids else ""
        return (
            f"; its {loaded.rows:,} rows repeat dialogues, whose references are grouped{which}: keep one prediction a "
            "dialogue, in the order in which the dialogues first appear"
        )
    if external.lines and given > wanted and not any(row.prediction.strip() for row in external.rows[wanted:]):
        return "; those behind the last dialogue are blank, and a blank line is an empty prediction: remove them"
    if external.lines:
        return "; write one prediction a line, without line feeds inside, and a blank line for an empty one"
    return "; give the rows ids, or one row for each dialogue"


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
    """Return where ids stand that an earlier row has."""
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
