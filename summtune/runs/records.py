"""The two records that every stage reads or writes: a dialogue and a prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from summtune.base.errors import DataError


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
        dialogue: the turns, as the data set holds them (not truncated, without the prompt); empty where they are not
            known, of outputs from elsewhere.
        prediction: the generated summary, special tokens removed.
        references: the summaries it is scored against.
        prompt_tokens: tokens of the prompt that the encoder read; None where unknown, as the next three.
        new_tokens: tokens generated, the end-of-sequence token included.
        truncated: whether the dialogue was cut to fit ``sequence_len``.
        hit_length_cap: whether generation ended at ``max_new_tokens`` without an end-of-sequence token.
    """

    id: str
    dialogue: str
    prediction: str
    references: tuple[str, ...]
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    truncated: bool | None = None
    hit_length_cap: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object as it stands in ``predictions.jsonl``."""
        return asdict(self) | {"references": list(self.references)}

    @classmethod
    def from_json(cls, row: object) -> Prediction:
        """Return the prediction of a line that ``to_json`` made.

        Raises:
            DataError: no object, a key too many or too few, or a value of another type.
        """
        if not isinstance(row, dict):
            raise DataError(f"a prediction is an object (got {type(row).__name__}); write the file again")
        for word, names in (("lacks", _KEYS.keys() - row.keys()), ("has a foreign", row.keys() - _KEYS.keys())):
            if names:
                raise DataError(f"a prediction {word} key (got {', '.join(sorted(names))}); write the file again")
        for key, types in _KEYS.items():
            value = row[key]
            # A bool is an int to Python, and 1 == True; neither may stand for the other.
            if type(value) not in types or (key == "references" and not all(type(text) is str for text in value)):
                expected = " or ".join(_TYPE_NAMES[type_] for type_ in types)
                raise DataError(f"{key} of a prediction must be {expected} (got {value!r:.60}); write the file again")
        return cls(**(row | {"references": tuple(row["references"])}))


_KEYS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "dialogue": (str,),
    "prediction": (str,),
    "references": (list,),
    "prompt_tokens": (int, type(None)),
    "new_tokens": (int, type(None)),
    "truncated": (bool, type(None)),
    "hit_length_cap": (bool, type(None)),
}
_TYPE_NAMES = {str: "text", list: "a list of texts", int: "a whole number", bool: "true or false", type(None): "null"}
