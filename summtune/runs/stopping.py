"""How often a trained model ends its summaries by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from summtune.base import numbers
from summtune.base.strict import Count, StrictModel

_ENOUGH = 0.9


class Stopping(StrictModel):
    """How many summaries ended by themselves, not by ``max_new_tokens``.

    Args:
        role: of the dialogues.
        dialogues: that were summarized.
        ended: of those, whose summary ended by itself.
    """

    role: Literal["validation", "test"]
    dialogues: Count
    ended: Count

    @classmethod
    def of(cls, role: Literal["validation", "test"], cut: Iterable[bool]) -> Stopping:
        """Return the counts, from whether each summary was ended by ``max_new_tokens``."""
        ended = [not each for each in cut]
        return cls(role=role, dialogues=len(ended), ended=sum(ended))

    def __str__(self) -> str:
        return f"{numbers.count(self.ended)} of {numbers.count(self.dialogues)} {self.role} dialogues"

    @property
    def warning(self) -> str | None:
        """What a reader of the scores must know; None if enough summaries ended by themselves."""
        if self.ended >= _ENOUGH * self.dialogues:
            return None
        return (
            f"the model seldom stops by itself: the summaries of {self} ended before generation.max_new_tokens (fewer "
            "than 9 of 10); train longer, or raise it if the references are that long"
        )
