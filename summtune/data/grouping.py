"""Brings the references of one dialogue together, however the rows spread them."""

from __future__ import annotations

from summtune.data.columns import Record
from summtune.data.rows import Place
from summtune.errors import DataError
from summtune.records import Dialogue


class Grouping:
    """Dialogues under construction: each different text once, in the order of first appearance.

    Two dialogues are the same when their text is, after line endings were normalised and the ends stripped.

    Attributes:
        rows: rows that were used.
        repeated_rows: rows whose dialogue had been seen before.
        doubled_references: references that a dialogue already had, and that were dropped.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.repeated_rows = 0
        self.doubled_references = 0
        self._ids: list[str] = []
        self._texts: list[str] = []
        self._references: list[dict[str, str]] = []
        self._number_of_text: dict[str, int] = {}
        self._holder_of_id: dict[str, tuple[int, Place]] = {}
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
        self._claim(identity, number, record.place)
        self.rows += 1
        if number == len(self._texts):
            # The key is the text itself, not a copy, where there was nothing to strip.
            self._number_of_text[key] = number
            self._texts.append(record.dialogue)
            self._ids.append(identity)
            self._references.append({})
        else:
            self.repeated_rows += 1
        known = self._references[number]
        for reference in record.references:
            stripped = reference.strip()
            self.doubled_references += stripped in known
            known.setdefault(stripped, reference)

    def dialogues(self) -> list[Dialogue]:
        """Return the dialogues with all their references."""
        parts = zip(self._ids, self._texts, self._references, strict=True)
        return [Dialogue(identity, text, tuple(references.values())) for identity, text, references in parts]

    def _claim(self, identity: str, number: int, place: Place) -> None:
        holder, first = self._holder_of_id.setdefault(identity, (number, place))
        if holder != number:
            raise DataError(
                f"{place}: the id of another dialogue (got {identity}, which {first} has); make ids unique, or name a"
                " column that holds unique ones as id_field of every source"
            )
