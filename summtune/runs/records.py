"""The records that the stages exchange: dialogues and predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from summtune.base.errors import DataError, RunDirectoryError

if TYPE_CHECKING:
    from summtune.runs.answers import Answer


@dataclass(frozen=True)
class Dialogue:
    """A dialogue and its reference summaries.

    Args:
        id: unique within its data set.
        dialogue: the turns, one per line.
        references: at least one summary; several if several people summarized the dialogue.
    """

    id: str
    dialogue: str
    references: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of this dialogue, for a ``.jsonl`` line."""
        return {"id": self.id, "dialogue": self.dialogue, "references": list(self.references)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Dialogue:
        """Return the dialogue of an object that ``to_json`` returned."""
        return cls(id=row["id"], dialogue=row["dialogue"], references=tuple(row["references"]))


@dataclass(frozen=True)
class Prediction:
    """The summary that a system wrote for one dialogue: one line of ``predictions.jsonl``.

    Args:
        id: the dialogue's id.
        dialogue: the turns, as in the data set (not truncated, without the prompt); empty if they are not known, as
            may be the case for external predictions.
        prediction: the generated summary, special tokens and the thought of a reasoning model removed.
        references: the summaries it is scored against.
        prompt_tokens: tokens of the prompt that the encoder read; None if unknown, as for the next three.
        new_tokens: tokens generated, the thought and the end-of-sequence token included.
        truncated: whether the dialogue was cut to fit ``sequence_len``.
        hit_length_cap: whether generation ended at ``max_new_tokens`` without an end-of-sequence token.
        thinking: the thought that came before the summary; None, and absent in the file, without one.
        answer: how the server answered; None, and absent in the file, where no server did.
    """

    id: str
    dialogue: str
    prediction: str
    references: tuple[str, ...]
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    truncated: bool | None = None
    hit_length_cap: bool | None = None
    thinking: str | None = None
    answer: Answer | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of this prediction, for a line of ``predictions.jsonl``."""
        row = asdict(self) | {"references": list(self.references)}
        if self.answer is not None:
            row["answer"] = self.answer.to_json()
        return {key: value for key, value in row.items() if value is not None or key not in _OPTIONAL}

    @classmethod
    def from_json(cls, row: object) -> Prediction:
        """Return the prediction of an object that ``to_json`` returned.

        Raises:
            DataError: not an object, a missing or unknown key, or a value of another type.
        """
        if not isinstance(row, dict):
            raise DataError(f"a prediction must be an object (got {type(row).__name__}); write the file again")
        for word, names in (
            ("lacks keys", _KEYS.keys() - row.keys() - _OPTIONAL),
            ("has unknown keys", row.keys() - _KEYS.keys()),
        ):
            if names:
                raise DataError(f"a prediction {word} (got {', '.join(sorted(names))}); write the file again")
        for key, value in row.items():
            types = _KEYS[key]
            # In Python a bool is an int, and 1 == True; neither is accepted as the other here.
            if type(value) not in types or (key == "references" and not all(type(text) is str for text in value)):
                expected = " or ".join(_TYPE_NAMES[type_] for type_ in types)
                raise DataError(f"{key} of a prediction must be {expected} (got {value!r:.60}); write the file again")
        given = row | {"references": tuple(row["references"])}
        if row.get("answer") is not None:
            given["answer"] = _answer(row["answer"])
        return cls(**given)


def _answer(value: object) -> Answer:
    # The generator of the bundled dialogues imports this module, and needs the standard library alone.
    from summtune.base.strict import parse_model
    from summtune.runs.answers import Answer

    try:
        return parse_model(Answer, value, "answer of a prediction")
    except RunDirectoryError as error:
        raise DataError(str(error)) from None


_KEYS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "dialogue": (str,),
    "prediction": (str,),
    "references": (list,),
    "prompt_tokens": (int, type(None)),
    "new_tokens": (int, type(None)),
    "truncated": (bool, type(None)),
    "hit_length_cap": (bool, type(None)),
    "thinking": (str, type(None)),
    "answer": (dict, type(None)),
}
_OPTIONAL = {"thinking", "answer"}
_TYPE_NAMES = {
    str: "text",
    list: "a list of texts",
    dict: "an object",
    int: "a whole number",
    bool: "true or false",
    type(None): "null",
}
