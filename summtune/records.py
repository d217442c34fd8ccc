"""The two records that every stage reads or writes: a dialogue and a prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Dialogue:
    """A dialogue and the summaries people wrote of it.

    Args:
        id: unique within its data set.
        dialogue: the turns, one a line.
        references: at least one summary; several where several people summarized the dialogue.
    """

    id: str
    dialogue: str
    references: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object as it stands in a ``.jsonl`` line."""
        return {"id": self.id, "dialogue": self.dialogue, "references": list(self.references)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Dialogue:
        """Return the dialogue of a line that ``to_json`` made."""
        return cls(id=row["id"], dialogue=row["dialogue"], references=tuple(row["references"]))


@dataclass(frozen=True)
class Prediction:
    """What a system wrote for one dialogue: one line of ``predictions.jsonl``.

    Args:
        id: the dialogue's id.
        dialogue: the turns, as the data set holds them (not truncated, without the prompt).
        prediction: the generated summary, special tokens removed.
        references: the summaries it is scored against.
        prompt_tokens: tokens of the prompt that the encoder read.
        new_tokens: tokens generated, the end-of-sequence token included.
        truncated: whether the dialogue was cut to fit ``sequence_len``.
        hit_length_cap: whether generation ended at ``max_new_tokens`` without an end-of-sequence token.
    """

    id: str
    dialogue: str
    prediction: str
    references: tuple[str, ...]
    prompt_tokens: int
    new_tokens: int
    truncated: bool
    hit_length_cap: bool

    def to_json(self) -> dict[str, Any]:
        """Return the object as it stands in ``predictions.jsonl``."""
        return asdict(self) | {"references": list(self.references)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Prediction:
        """Return the prediction of a line that ``to_json`` made."""
        return cls(**(row | {"references": tuple(row["references"])}))
