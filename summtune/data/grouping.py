"""Brings the references of one dialogue together, however the rows spread them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from summtune.base.errors import DataError
from summtune.data.columns import Record
from summtune.data.rows import RowPosition
from summtune.runs.records import Dialogue

_NAMED = 3
"""Rows that a sentence names."""


class RepeatedId(NamedTuple):
    """A row that repeats a dialogue under an id of its own.

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
    """Return how many rows repeat a dialogue under another id, and which the first of them are."""
    count = len(repeated)
    examples = "; ".join(
        f"{one.id} of {one.position} repeats {one.first_id} of {one.first_position}" for one in repeated[:_NAMED]
    )
    rows = f"{count:,} row{'s' if count > 1 else ''} repeat{'s' if count == 1 else ''} a dialogue under another id"
    return f"{rows} ({'for instance ' if count > _NAMED else ''}{examples})"


class Grouping:
    """Dialogues under construction: each different text once, in the order of first appearance.

    Two dialogues are the same when their text is, after line endings were normalised and the ends stripped.

    Attributes:
        rows: rows that were used.
        repeated_rows: rows whose dialogue had been seen before.
        doubled_references: references that a dialogue already had, and that were dropped.
        repeated_ids: rows that repeat a dialogue under another id than its own, each id once.
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
        """Begin the rows of a source, of which the first ``limit`` different dialogues are used."""
        self._limit = limit
        self._of_source = set()

    def add(self, record: Record, identity: str) -> None:
        """Add a row as a new dialogue, or as references of the dialogue that it repeats; or pass over it (``limit``).

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
            # The key is the text itself, not a copy, where there was nothing to strip.
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
        """Note that dialogue ``number`` has this id; return whether no row had it before."""
        known = identity in self._holder_of_id
        holder, first = self._holder_of_id.setdefault(identity, (number, position))
        if holder != number:
            raise DataError(
                f"{position}: the id of another dialogue (got {identity}, which {first} has); make ids unique, or set "
                "id_field of every source to a column that holds unique ones"
            )
        return not known
