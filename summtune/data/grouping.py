"""Groups the references of each dialogue that occurs in several rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from summtune.base.errors import DataError
from summtune.data.columns import Record
from summtune.data.rows import RowPosition
from summtune.runs.records import Dialogue

_NAMED = 3
"""Number of rows that a sentence lists."""


class RepeatedId(NamedTuple):
    """A row that repeats a dialogue under another id.

    Args:
        id: of the row.
        position: of the row.
        first_id, first_position: of the row that it repeats, whose id the dialogue keeps.
    """

    id: str
    position: RowPosition
    first_id: str
    first_position: RowPosition


def repeated_sentence(repeated: Sequence[RepeatedId]) -> str:
    """Return how many rows repeat a dialogue under another id, and list the first of them."""
    count = len(repeated)
    examples = "; ".join(
        f"{one.id} of {one.position} repeats {one.first_id} of {one.first_position}" for one in repeated[:_NAMED]
    )
    rows = f"{count:,} row{'s' if count > 1 else ''} repeat{'s' if count == 1 else ''} a dialogue under another id"
    return f"{rows} ({'for instance ' if count > _NAMED else ''}{examples})"


class Grouping:
    """Collects dialogues from rows: each distinct text once, in the order of first appearance.

    Two dialogues are equal if their texts are, after normalizing line endings and stripping both ends.

    Attributes:
        rows: number of rows that were used.
        repeated_rows: number of rows whose dialogue had been seen before.
        doubled_references: number of references that were dropped because the dialogue already had them.
        repeated_ids: rows that repeat a dialogue under another id, each id once.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.repeated_rows = 0
        self.doubled_references = 0
        self.repeated_ids: list[RepeatedId] = []
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._references: list[dict[str, str]] = []
        self._number_of_text: dict[str, int] = {}
        self._holder_of_id: dict[str, tuple[int, RowPosition]] = {}
        self._limit: int | None = None
        self._of_source: set[int] = set()

    def __len__(self) -> int:
        return len(self._texts)

    def start_source(self, limit: int | None) -> None:
        """Start the rows of a source, of which the first ``limit`` distinct dialogues are used."""
        self._limit = limit
        self._of_source = set()

    def add(self, record: Record, identity: str) -> None:
        """Add a row as a new dialogue, or as references of the dialogue that it repeats; or skip it (``limit``).

        Raises:
            DataError: ``identity`` belongs to a different dialogue.
        """
        key = record.dialogue.strip()
        number = self._number_of_text.get(key, len(self._texts))
        if number not in self._of_source:
            if self._limit is not None and len(self._of_source) >= self._limit:
                return
            self._of_source.add(number)
        is_new = self._claim(identity, number, record.position)
        self.rows += 1
        if number == len(self._texts):
            # If there was nothing to strip, the key is the text itself and not a copy.
            self._number_of_text[key] = number
            self._texts.append(record.dialogue)
            self._ids.append(identity)
            self._references.append({})
        else:
            self.repeated_rows += 1
            if is_new and record.id is not None:
                first = self._ids[number]
                self.repeated_ids.append(RepeatedId(identity, record.position, first, self._holder_of_id[first][1]))
        known = self._references[number]
        for reference in record.references:
            stripped = reference.strip()
            self.doubled_references += stripped in known
            known.setdefault(stripped, reference)

    def dialogues(self) -> list[Dialogue]:
        """Return the dialogues with all their references."""
        parts = zip(self._ids, self._texts, self._references, strict=True)
        return [Dialogue(identity, text, tuple(references.values())) for identity, text, references in parts]

    def _claim(self, identity: str, number: int, position: RowPosition) -> bool:
        """Record that dialogue ``number`` has this id; return whether no earlier row had it."""
        known = identity in self._holder_of_id
        holder, first = self._holder_of_id.setdefault(identity, (number, position))
        if holder != number:
            raise DataError(
                f"{position}: another dialogue has this id (got {identity}, first in {first}); make ids unique, or "
                "set id_field of every source to a column of unique ids"
            )
        return not known
