"""Brings what a system wrote together with the dialogues it is scored on: strictly by id, or by order."""

from __future__ import annotations

from collections.abc import Sequence

from summtune.base.errors import DataError
from summtune.data.grouping import RepeatedId, repeated_sentence
from summtune.data.outputs import Output, Outputs
from summtune.data.reading import Reading
from summtune.runs.records import Dialogue, Prediction

_NAMED = 5
"""Ids that an error names of each sort."""


def with_own_references(outputs: Outputs) -> list[Prediction]:
    """Return the predictions of rows that hold their references; rows without ids are called ``row_0``, ``row_1``, …

    Raises:
        DataError: an id stands on several rows.
    """
    doubled = _doubled(outputs)
    if doubled:
        raise DataError(
            f"{outputs.shown} has several predictions of one id (got {_listed(doubled)}); give each dialogue one"
        )
    return [
        _prediction(output, Dialogue(_own_id(output, number), output.dialogue or "", output.references or ()))
        for number, output in enumerate(outputs.rows)
    ]


def with_dialogues(outputs: Outputs, reading: Reading, references: str) -> list[Prediction]:
    """Return one prediction for each dialogue, in the order of the dialogues.

    Rows with ids are matched by them, whatever their order. Lines, and rows that hold their dialogue instead of an id,
    are matched by order, and must be as many as the dialogues. A dialogue in a row must be the one it is matched with.

    Args:
        outputs: what the system wrote.
        reading: the data set, rows of one dialogue grouped.
        references: what messages call the data set.

    Raises:
        DataError: ids are missing, doubled or foreign, the numbers differ, a row is of another dialogue, or nothing in
            the rows says which dialogues they are of.
    """
    dialogues = reading.dialogues
    if not outputs.lines and not outputs.have_ids and outputs.rows[0].dialogue is None:
        raise DataError(
            f"nothing says which dialogues the rows of {outputs.shown} are of (got columns: "
            f"{', '.join(outputs.columns)}); name the column of their ids with --id-field, or write plain text, one "
            "prediction a line, which is matched by order"
        )
    rows = _by_id(outputs, reading, references) if outputs.have_ids else _in_order(outputs, reading, references)
    for output, dialogue in zip(rows, dialogues, strict=True):
        if (output.dialogue or "").strip() not in ("", dialogue.dialogue.strip()):
            raise DataError(
                f"{output.place}: another dialogue than that of {references} with the id {dialogue.id} (got "
                f"{str(output.dialogue)[:40]!r} instead of {dialogue.dialogue[:40]!r}); match them, or remove the "
                "column"
            )
    return [_prediction(output, dialogue) for output, dialogue in zip(rows, dialogues, strict=True)]


def repeated_dialogues(outputs: Outputs) -> list[RepeatedId]:
    """Return the rows that hold the dialogue of an earlier row under another id, of rows with ids and dialogues."""
    first: dict[str, Output] = {}
    repeated = []
    for output in outputs.rows:
        if output.id is not None and output.dialogue and not output.dialogue.isspace():
            earlier = first.setdefault(output.dialogue.strip(), output)
            if earlier.id is not None and earlier.id != output.id:
                repeated.append(RepeatedId(output.id, output.place, earlier.id, earlier.place))
    return repeated


def _by_id(outputs: Outputs, reading: Reading, references: str) -> list[Output]:
    by_id = {str(output.id): output for output in outputs.rows}
    known = {dialogue.id for dialogue in reading.dialogues}
    first_of = {repeated.id: repeated.first_id for repeated in reading.repeated_ids}
    foreign = [output for output in outputs.rows if output.id not in known]
    repeating = "repeating the dialogue of an earlier id"
    found = {
        "missing": [dialogue.id for dialogue in reading.dialogues if dialogue.id not in by_id],
        "foreign": [_at(output) for output in foreign if output.id not in first_of],
        repeating: [f"{_at(output)} for {first_of[output.id]}" for output in foreign if output.id in first_of],
        "doubled": _doubled(outputs),
    }
    wrong = "; ".join(f"{len(ids):,} {sort}: {_listed(ids)}" for sort, ids in found.items() if ids)
    if wrong:
        advice = "correct the ids, or name their column with --id-field"
        if found[repeating] and sum(map(bool, found.values())) == 1:
            advice = "keep the predictions of the earlier ids"
        raise DataError(
            f"{outputs.shown} does not have one prediction for each id of the {len(reading.dialogues):,} dialogues of "
            f"{references} (got {wrong}); {advice}"
        )
    return [by_id[dialogue.id] for dialogue in reading.dialogues]


def _in_order(outputs: Outputs, reading: Reading, references: str) -> Sequence[Output]:
    given, wanted = len(outputs.rows), len(reading.dialogues)
    if given != wanted:
        unit = ("line" if outputs.lines else "row") + ("s" if given > 1 else "")
        raise DataError(
            f"{outputs.shown} has {given:,} {unit}, and {references} {wanted:,} dialogues (got {abs(given - wanted):,} "
            f"too {'many' if given > wanted else 'few'}){_why(outputs, reading)}"
        )
    return outputs.rows


def _why(outputs: Outputs, reading: Reading) -> str:
    """Return what most likely makes the numbers differ, and what to do."""
    given, wanted = len(outputs.rows), len(reading.dialogues)
    if given == reading.rows and reading.repeated_rows:
        which = f" ({repeated_sentence(reading.repeated_ids)})" if reading.repeated_ids else ""
        return (
            f"; its {reading.rows:,} rows repeat dialogues, whose references are grouped{which}: keep one prediction a "
            "dialogue, in the order in which the dialogues first appear"
        )
    if outputs.lines and given > wanted and not any(row.prediction.strip() for row in outputs.rows[wanted:]):
        return "; those behind the last dialogue are blank, and a blank line is an empty prediction: remove them"
    if outputs.lines:
        return "; write one prediction a line, without line feeds inside, and a blank line for an empty one"
    return "; give the rows ids, or one row for each dialogue"


def _prediction(output: Output, dialogue: Dialogue) -> Prediction:
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


def _own_id(output: Output, number: int) -> str:
    return output.id if output.id is not None else f"row_{number}"


def _doubled(outputs: Outputs) -> list[str]:
    """Return where ids stand that an earlier row has."""
    seen: set[str | None] = {None}
    found = []
    for output in outputs.rows:
        if output.id is not None and output.id in seen:
            found.append(_at(output))
        seen.add(output.id)
    return found


def _at(output: Output) -> str:
    return f"{output.id} ({output.place.unit} {output.place.number})"


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
