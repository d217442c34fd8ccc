"""The base of every model of a JSON file: nothing is coerced, dropped or taken on trust."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from summtune.base.errors import RunDirectoryError
from summtune.base.files import check_regular

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""How many of something there are."""
Measure = Annotated[float, Field(ge=-1e100, le=1e100)]
"""A score, a loss or a time: within a range in which sums and products of a few of them stay finite."""


class StrictModel(BaseModel):
    """A JSON object: strict types, no unknown keys, finite numbers, immutable.

    A field with a default is one that the file may lack; it is written only if it was given.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """Return the object as the file holds it, without the fields that were not given."""
        return self.model_dump(mode="json", exclude_unset=True)


Model = TypeVar("Model", bound=BaseModel)


def read_model(model: type[Model], path: Path) -> Model:
    """Return what a JSON file of a run holds.

    Raises:
        InputError: it is not a regular file.
        RunDirectoryError: it does not hold what summtune writes there; the message names the file and the field.
        OSError: there is no such file.
    """
    check_regular(path)
    return _parsed(model, path.read_bytes(), str(path))


def parse_model(model: type[Model], value: object, place: str) -> Model:
    """Return what a part of a JSON file holds, which was read already.

    Raises:
        RunDirectoryError: it does not hold what summtune writes there; the message begins with ``place``.
    """
    return _parsed(model, json.dumps(value).encode(), place)


def read_model_lines(model: type[Model], path: Path) -> Iterator[Model]:
    """Yield what each line of a ``.jsonl`` file of a run holds.

    Raises:
        InputError: it is not a regular file.
        RunDirectoryError: a line does not hold what summtune writes there; the message names the line and the field.
        OSError: there is no such file.
    """
    check_regular(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _parsed(model, line, f"{path}, line {number}")


def _parsed(model: type[Model], content: bytes, place: str) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise RunDirectoryError(
            f"{place}: {_first_problem(error)}; restore the file, or delete it (another version of summtune may have "
            "written it) and give the command that wrote it again"
        ) from None


def _first_problem(error: ValidationError) -> str:
    """Return the field that is wrong, what is wrong with it, and what it holds."""
    first = error.errors(include_url=False)[0]
    field = "".join(f"{part}." for part in first["loc"])[:-1]
    what = f"{field}: {first['msg']}" if field else first["msg"]
    return what if first["type"] in ("missing", "json_invalid") else f"{what} (got {first['input']!r:.60})"
