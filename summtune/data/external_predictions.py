"""Reads the predictions of external systems: one per row of a table, or one per line of text."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from summtune.base.errors import DataError
from summtune.base.file_endings import OFFICE, is_table, wrong_with_format
from summtune.base.files import irregular
from summtune.base.hints import hint
from summtune.data.columns import checked
from summtune.data.encodings import not_utf8_problem, to_utf8, without_mark
from summtune.data.formats import TEXT_TABLES, json_type, open_rows
from summtune.data.locations import locate
from summtune.data.rows import BadRow, Row, RowPosition, RowStream
from summtune.data.turns import dialogue_of
from summtune.data.values import UnusableError, identity_of, text_of, texts_of

STDIN = "-"
_OPEN_FILES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""Files that this process inherited open, such as a shell's ``<(…)``: a pipe there has a writer."""
REFERENCE_COLUMNS = ("references", "reference", "summary")
"""Columns where references are looked for by default."""


Spelling: TypeAlias = Callable[[str], str]
"""How a message names a key, by which the user can name a column."""


def as_option(key: str) -> str:
    """Return a key as an option of ``summtune evaluate``."""
    return f"--{key.replace('_', '-')}"


def as_key(key: str) -> str:
    """Return a key as a recipe has it; there the data set has its own ``id_field``."""
    return "`id_field` of the test data" if key == "reference_id_field" else f"`{key}`"


class ExternalPrediction(NamedTuple):
    """The prediction of a system for one dialogue; fields that the row lacks are None.

    Args:
        position: where the row is in the file.
        prediction: the summary, which may be empty.
        id: of the dialogue.
        dialogue: the turns.
        references: the reference summaries.
        prompt_tokens, new_tokens, truncated, hit_length_cap: as in ``summtune.runs.records.Prediction``.
    """

    position: RowPosition
    prediction: str
    id: str | None = None
    dialogue: str | None = None
    references: tuple[str, ...] | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    truncated: bool | None = None
    hit_length_cap: bool | None = None


@dataclass(frozen=True)
class PredictionColumns:
    """The names of the columns to read; None or empty for the default.

    Args:
        prediction: default ``prediction``.
        ids: candidates for the id column; the first one that exists is used.
        dialogue: default ``dialogue``, if it exists.
        summaries: default ``references``, ``reference`` or ``summary``, whichever exists.
        spelled: how messages name what chooses a column.
    """

    prediction: str | None = None
    ids: tuple[str, ...] = ("id",)
    dialogue: str | None = None
    summaries: tuple[str, ...] = ()
    spelled: Spelling = as_option


@dataclass(frozen=True)
class ExternalPredictions:
    """The content of a file of predictions.

    Args:
        shown: the file's name in messages.
        rows: at least one, in the order of the file.
        columns: those of the first row.
        lines: whether it is plain text, one prediction per line.
        spelled: how messages name what chooses a column.
    """

    shown: str
    rows: tuple[ExternalPrediction, ...]
    columns: tuple[str, ...]
    lines: bool
    spelled: Spelling = as_option

    @property
    def have_ids(self) -> bool:
        """Whether the rows have ids of dialogues."""
        return self.rows[0].id is not None

    @property
    def have_references(self) -> bool:
        """Whether the rows contain their references."""
        return self.rows[0].references is not None


@dataclass(frozen=True)
class GivenRows:
    """Predictions that a program passes instead of a file.

    Args:
        rows: at least one, their columns by name; plain texts are in the column ``prediction``.
        lines: whether they are plain texts, like the lines of a file.
    """

    rows: tuple[Mapping[str, object], ...]
    lines: bool = False

    shown = "predictions"
    """Their name in messages."""


def read_external_predictions(
    file: str | GivenRows, columns: PredictionColumns, *, with_references: bool
) -> ExternalPredictions:
    """Return the predictions in ``file``.

    A file in a data set format (``FILE_EXTENSIONS``) has one prediction per row. Any other file, and standard input, is
    plain text with one per line, where a blank line is an empty prediction. The columns are those of the first row; no
    later row may lack any of them.

    Args:
        file: path, ``-`` for standard input, or the rows themselves.
        columns: the names of the columns.
        with_references: whether to read references; False if they come from a data set.

    Raises:
        DataError: the file cannot be read, is empty, or rows of it cannot be used, with file and line.
    """
    if isinstance(file, GivenRows):
        positions = (RowPosition(file.shown, "item", number) for number in itertools.count(1))
        stream: RowStream = iter(map(Row, positions, file.rows))
        return _predictions(stream, file.shown, columns, with_references, lines=file.lines, typed=True)
    shown = "standard input" if file == STDIN else file
    lines = file == STDIN or not is_table(file)
    typed = Path(file).suffix.lower() not in TEXT_TABLES
    stream = _lines(content_of(file), shown) if lines else _rows(file)
    return _predictions(stream, shown, columns, with_references, lines=lines, typed=typed)


def _predictions(
    stream: RowStream, shown: str, columns: PredictionColumns, with_references: bool, lines: bool, typed: bool
) -> ExternalPredictions:
    first = next(stream, None)
    if first is None:
        unit = "line" if lines else "row"
        raise DataError(f"{shown} contains no predictions (got an empty file); write one per {unit}")
    if lines:
        if columns.prediction is not None:
            option = columns.spelled("prediction_field")
            raise DataError(f"plain text has no columns (got {option} {columns.prediction} for {shown})")
        _refuse_json(first)
    reader = _Reader.of(first, columns, with_references, typed)
    rows = tuple(checked(itertools.chain([first], stream), reader.read))
    names = tuple(map(str, first.values)) if isinstance(first, Row) else ()
    return ExternalPredictions(shown, rows, names, lines, columns.spelled)


def with_texts(
    outputs: ExternalPredictions, references: Sequence[Sequence[str]] | None, dialogues: Sequence[str] | None
) -> ExternalPredictions:
    """Return the predictions with the given references, dialogues or both, one for each prediction, in order.

    Args:
        outputs: the predictions.
        references: the reference summaries of each dialogue; None to keep those of the predictions.
        dialogues: the turns of each dialogue; None to keep those of the predictions.

    Raises:
        DataError: there are more or fewer of them than predictions.
    """
    for what, texts in (("references", references), ("dialogues", dialogues)):
        if texts is not None and len(texts) != len(outputs.rows):
            raise DataError(
                f"the number of {what} differs from that of predictions (got {len(texts)} for {len(outputs.rows)}); "
                "give one for each prediction, in the same order"
            )
    rows = outputs.rows
    if references is not None:
        rows = tuple(row._replace(references=tuple(each)) for row, each in zip(rows, references, strict=True))
    if dialogues is not None:
        rows = tuple(row._replace(dialogue=each) for row, each in zip(rows, dialogues, strict=True))
    return replace(outputs, rows=rows)


def reference_columns(names: Collection[str], where: str) -> tuple[str, ...]:
    """Return the column of references, judging by its name; empty if there is none.

    Raises:
        DataError: several columns have such a name.
    """
    found = tuple(name for name in REFERENCE_COLUMNS if name in names)
    if len(found) > 1:
        raise DataError(
            f"{where}: several columns may contain the references (got {', '.join(found)}); choose with --summary-field"
        )
    return found


@dataclass(frozen=True)
class _Reader:
    """Turns the rows of one file into predictions; a column that is None is not read."""

    prediction: str
    id: str | None
    ids: tuple[str, ...]
    dialogue: str | None
    summaries: tuple[str, ...]
    typed: bool

    @classmethod
    def of(cls, first: Row | BadRow, columns: PredictionColumns, with_references: bool, typed: bool) -> _Reader:
        """Return the reader for a file whose first row is ``first``.

        Raises:
            DataError: the file has no column of predictions.
        """
        prediction = columns.prediction or "prediction"
        if isinstance(first, BadRow):
            return cls(prediction, None, (), None, (), typed)
        names = [str(name) for name in first.values]
        if prediction not in names:
            raise DataError(
                f"{first.position}: no column {prediction}{hint(prediction, names)} (got columns: "
                f"{', '.join(names) or 'none'}); name the column of predictions with "
                f"{columns.spelled('prediction_field')}"
            )
        summaries: tuple[str, ...] = ()
        if with_references:
            summaries = columns.summaries or reference_columns(set(names) - {prediction}, str(first.position))
        # --dialogue-field may name a column of the data set only.
        dialogue = next((name for name in (columns.dialogue, "dialogue") if name in names), None)
        if with_references and columns.dialogue is not None:
            dialogue = columns.dialogue
        identity = next((name for name in columns.ids if name in names), None)
        return cls(prediction, identity, columns.ids, dialogue, summaries, typed)

    def read(self, row: Row) -> ExternalPrediction | BadRow:
        """Return the row's prediction, or what is wrong with the row."""
        try:
            return ExternalPrediction(
                position=row.position,
                prediction=text_of(row, self.prediction, may_be_empty=True),
                id=self._id(row),
                dialogue=None if self.dialogue is None else dialogue_of(row, self.dialogue, may_be_empty=True),
                references=tuple(text for name in self.summaries for text in texts_of(row, name)) or None,
                prompt_tokens=self._count(row, "prompt_tokens"),
                new_tokens=self._count(row, "new_tokens"),
                truncated=self._flag(row, "truncated"),
                hit_length_cap=self._flag(row, "hit_length_cap"),
            )
        except UnusableError as unusable:
            return BadRow(row.position, str(unusable))

    def _id(self, row: Row) -> str | None:
        if self.id is not None:
            return identity_of(row, self.id)
        late = next((name for name in self.ids if name in row.values), None)
        if late is not None:
            raise UnusableError(f"it has an id, but the first row has none (got column {late}); give every row its id")
        return None

    def _count(self, row: Row, column: str) -> int | None:
        value = row.values.get(column) if self.typed else None  # a .csv has nothing but text
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise UnusableError(f"{column} must be a whole number or null (got {json_type(value)}); correct or rename it")

    def _flag(self, row: Row, column: str) -> bool | None:
        value = row.values.get(column) if self.typed else None
        if value is None or isinstance(value, bool):
            return value
        raise UnusableError(f"{column} must be true, false or null (got {json_type(value)}); correct or rename it")


def _rows(file: str) -> RowStream:
    path = Path(file).absolute()
    if path.is_dir():
        raise DataError(f"predictions are a file (got the folder {path}); give the file in it")
    (located,) = locate(path, None, "test").files
    return open_rows(located, file, None, None, "test")[1]


def content_of(file: str, named_pipes: bool = False) -> bytes:
    """Return the bytes of a plain-text file, of a shell's ``<(…)``, or of standard input (``-``).

    Args:
        file: path, or ``-``.
        named_pipes: whether to read named pipes, too.

    Raises:
        DataError: it is a folder, a device, a socket or an office document, does not exist, or cannot be read.
    """
    if file == STDIN:
        return sys.stdin.buffer.read()
    path = Path(file).absolute()
    if path.is_dir():
        inside = path / "predictions.jsonl"
        name = str(inside) if inside.is_file() else "the file in it"
        raise DataError(f"predictions are a file (got the folder {path}); give {name}")
    if not path.exists():
        locate(path, None, "test")  # raises, with the most similar name
    if path.suffix.lower() in OFFICE:
        raise DataError(str(wrong_with_format(file)))
    kind = irregular(path)
    if kind is not None and kind != "a pipe":
        raise DataError(
            f"text is read from a file or a pipe (got {path}, {kind}); give a file, or - for standard input"
        )
    if kind is not None and not (named_pipes or file.startswith(_OPEN_FILES)):
        # It may have no writer, and then opening it would wait forever.
        raise DataError(
            f"predictions are not read from a named pipe (got {path}); write them to a file, or pipe them to -"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read (got {error.strerror or error}); check the file") from error


def _lines(content: bytes, shown: str) -> RowStream:
    """Yield a row for each line; only a line feed ends one, because text may contain all other separators."""
    lines = without_mark(to_utf8(content, shown)).split(b"\n")
    if not lines[-1]:
        lines.pop()  # the last line ends with a line feed, too
    for number, line in enumerate(lines, start=1):
        position = RowPosition(shown, "line", number)
        try:
            yield Row(position, {"prediction": line.decode("utf-8").removesuffix("\r")})
        except UnicodeDecodeError as error:
            yield BadRow(position, not_utf8_problem(line, error.start))


def _refuse_json(first: Row | BadRow) -> None:
    """Raise if plain text is actually JSON lines, which would be scored as words."""
    text = str(first.values["prediction"]) if isinstance(first, Row) else ""
    if not text.startswith("{"):
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        raise DataError(
            f"{first.position}: a JSON object instead of plain text (got {text[:40]}); put it in a .jsonl file"
        )
