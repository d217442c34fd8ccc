"""Reads what a system wrote, whatever system it was: one prediction a row, or one a line."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from summtune.base.errors import DataError
from summtune.base.file_endings import COMPRESSED, FILE_EXTENSIONS, OFFICE, wrong_with_format
from summtune.base.files import irregular
from summtune.base.hints import hint
from summtune.data.columns import UnusableError, checked, identity_of, text_of, texts_of
from summtune.data.encodings import not_utf8_problem, to_utf8, without_mark
from summtune.data.formats import TEXT_TABLES, json_type, open_rows
from summtune.data.locations import locate
from summtune.data.rows import BadRow, Row, RowPosition, RowStream

STDIN = "-"
_OPEN_FILES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""What this process was given open, such as a shell's ``<(…)``: a pipe there has somebody who writes into it."""
REFERENCE_COLUMNS = ("references", "reference", "summary")
"""Where references are looked for when nobody says where they are."""


class ExternalPrediction(NamedTuple):
    """What a system wrote for one dialogue, with whatever else the row says; None where it does not.

    Args:
        position: where it stands.
        prediction: the summary, which may be empty.
        id: of the dialogue.
        dialogue: the turns.
        references: summaries that people wrote.
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
    """Which columns hold what; None and empty where nobody said so.

    Args:
        prediction: default ``prediction``.
        ids: names of which the first that there is holds the id.
        dialogue: default ``dialogue``, if there is one.
        summaries: default the one of ``references``, ``reference`` and ``summary`` that there is.
    """

    prediction: str | None = None
    ids: tuple[str, ...] = ("id",)
    dialogue: str | None = None
    summaries: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternalPredictions:
    """What a file of predictions holds.

    Args:
        shown: what messages call the file.
        rows: at least one, in the order of the file.
        columns: those of the first row.
        lines: whether it is plain text, one prediction a line.
    """

    shown: str
    rows: tuple[ExternalPrediction, ...]
    columns: tuple[str, ...]
    lines: bool

    @property
    def have_ids(self) -> bool:
        """Whether the rows say which dialogues they are of."""
        return self.rows[0].id is not None

    @property
    def have_references(self) -> bool:
        """Whether the rows can be scored as they are."""
        return self.rows[0].references is not None


@dataclass(frozen=True)
class GivenRows:
    """Predictions that a program gives instead of a file.

    Args:
        rows: at least one, their columns by name; of texts alone, each in the column ``prediction``.
        lines: whether they are texts alone, as the lines of a file are.
    """

    rows: tuple[Mapping[str, object], ...]
    lines: bool = False

    shown = "predictions"
    """What messages call them."""


def read_external_predictions(
    file: str | GivenRows, columns: PredictionColumns, *, with_references: bool
) -> ExternalPredictions:
    """Return the predictions in ``file``.

    A file of a format that data sets have (``FILE_EXTENSIONS``) holds one a row; any other file, and standard input,
    plain text with one a line, where a blank line is an empty prediction. The columns are those of the first row, and
    no later one may lack any of them.

    Args:
        file: path, ``-`` for standard input, or the rows themselves.
        columns: which columns hold what.
        with_references: whether references are looked for; not where they come from elsewhere.

    Raises:
        DataError: the file cannot be read, is empty, or rows of it cannot be used, with file and line.
    """
    if isinstance(file, GivenRows):
        places = (RowPosition(file.shown, "item", number) for number in itertools.count(1))
        stream: RowStream = iter(map(Row, places, file.rows))
        return _outputs(stream, file.shown, columns, with_references, lines=file.lines, typed=True)
    shown = "standard input" if file == STDIN else file
    suffix = Path(file).suffix.lower()
    lines = file == STDIN or suffix not in (*FILE_EXTENSIONS, *COMPRESSED)
    stream = _lines(content_of(file), shown) if lines else _rows(file)
    return _outputs(stream, shown, columns, with_references, lines=lines, typed=suffix not in TEXT_TABLES)


def _outputs(
    stream: RowStream, shown: str, columns: PredictionColumns, with_references: bool, lines: bool, typed: bool
) -> ExternalPredictions:
    first = next(stream, None)
    if first is None:
        raise DataError(f"{shown} holds no predictions (got an empty file); write one a {'line' if lines else 'row'}")
    if lines:
        if columns.prediction is not None:
            raise DataError(f"plain lines have no columns (got --prediction-field {columns.prediction} for {shown})")
        _refuse_json(first)
    reader = _Reader.of(first, columns, with_references, typed)
    rows = tuple(checked(itertools.chain([first], stream), reader.read))
    names = tuple(map(str, first.values)) if isinstance(first, Row) else ()
    return ExternalPredictions(shown, rows, names, lines)


def with_texts(
    outputs: ExternalPredictions, references: Sequence[Sequence[str]] | None, dialogues: Sequence[str] | None
) -> ExternalPredictions:
    """Return the outputs with references, dialogues or both that a program gives, one for each output in its order.

    Args:
        outputs: what the system wrote.
        references: the summaries of each dialogue; None where the outputs keep theirs.
        dialogues: the turns of each; None where the outputs keep theirs.

    Raises:
        DataError: there are more or fewer of them than outputs.
    """
    for what, texts in (("references", references), ("dialogues", dialogues)):
        if texts is not None and len(texts) != len(outputs.rows):
            raise DataError(
                f"{what} are as many as predictions (got {len(texts)} for {len(outputs.rows)}); give one for each, in "
                "their order"
            )
    rows = outputs.rows
    if references is not None:
        rows = tuple(row._replace(references=tuple(each)) for row, each in zip(rows, references, strict=True))
    if dialogues is not None:
        rows = tuple(row._replace(dialogue=each) for row, each in zip(rows, dialogues, strict=True))
    return replace(outputs, rows=rows)


def reference_columns(names: Collection[str], where: str) -> tuple[str, ...]:
    """Return the column that holds references by its name; nothing where there is none.

    Raises:
        DataError: several could be it.
    """
    found = tuple(name for name in REFERENCE_COLUMNS if name in names)
    if len(found) > 1:
        raise DataError(
            f"{where}: several columns may hold the references (got {', '.join(found)}); name it with --summary-field"
        )
    return found


@dataclass(frozen=True)
class _Reader:
    """Makes outputs of the rows of one file; a column that is None is not read."""

    prediction: str
    id: str | None
    ids: tuple[str, ...]
    dialogue: str | None
    summaries: tuple[str, ...]
    typed: bool

    @classmethod
    def of(cls, first: Row | BadRow, columns: PredictionColumns, with_references: bool, typed: bool) -> _Reader:
        """Return the reader for a file that begins with ``first``."""
        prediction = columns.prediction or "prediction"
        if isinstance(first, BadRow):
            return cls(prediction, None, (), None, (), typed)
        names = [str(name) for name in first.values]
        if prediction not in names:
            raise DataError(
                f"{first.position}: no column {prediction}{hint(prediction, names)} (got columns: "
                f"{', '.join(names) or 'none'}); name the one that holds the predictions with --prediction-field"
            )
        summaries: tuple[str, ...] = ()
        if with_references:
            summaries = columns.summaries or reference_columns(set(names) - {prediction}, str(first.position))
        # --dialogue-field may be of the data set alone.
        dialogue = next((name for name in (columns.dialogue, "dialogue") if name in names), None)
        if with_references and columns.dialogue is not None:
            dialogue = columns.dialogue
        identity = next((name for name in columns.ids if name in names), None)
        return cls(prediction, identity, columns.ids, dialogue, summaries, typed)

    def read(self, row: Row) -> ExternalPrediction | BadRow:
        """Return what the row says, or what is wrong with it."""
        try:
            return ExternalPrediction(
                position=row.position,
                prediction=text_of(row, self.prediction, may_be_empty=True),
                id=self._id(row),
                dialogue=None if self.dialogue is None else text_of(row, self.dialogue, may_be_empty=True),
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
            raise UnusableError(f"an id where the first row has none (got a column {late}); give every row its id")
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
        raise DataError(f"predictions are a file (got the folder {path}); name the file in it")
    (located,) = locate(path, None, "test").files
    return open_rows(located, file, None, None, "test")[1]


def content_of(file: str, named_pipes: bool = False) -> bytes:
    """Return the bytes of a file without rows, of a shell's ``<(…)``, or of standard input (``-``).

    Args:
        file: path, or ``-``.
        named_pipes: whether a pipe that has a name in a folder is read, too.

    Raises:
        DataError: it is a folder, a device, a socket or an office document, is not there, or cannot be read.
    """
    if file == STDIN:
        return sys.stdin.buffer.read()
    path = Path(file).absolute()
    if path.is_dir():
        inside = path / "predictions.jsonl"
        name = str(inside) if inside.is_file() else "the file in it"
        raise DataError(f"predictions are a file (got the folder {path}); give {name}")
    if not path.exists():
        locate(path, None, "test")  # says so, with the nearest name
    if path.suffix.lower() in OFFICE:
        raise DataError(str(wrong_with_format(file)))
    kind = irregular(path)
    if kind is not None and kind != "a pipe":
        raise DataError(
            f"text is read from a file or a pipe (got {path}, {kind}); name a file, or - for standard input"
        )
    if kind is not None and not (named_pipes or file.startswith(_OPEN_FILES)):
        # Nobody may be writing into it, and then opening it waits without an end.
        raise DataError(
            f"predictions are not read from a named pipe (got {path}); write them to a file, or pipe them to -"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read (got {error.strerror or error}); check the file") from error


def _lines(content: bytes, shown: str) -> RowStream:
    """Yield a row for each line; only a line feed ends one, because text may hold every other separator."""
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
    """Raise where plain text is JSON lines under another name: braces would be scored as words."""
    text = str(first.values["prediction"]) if isinstance(first, Row) else ""
    if not text.startswith("{"):
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        raise DataError(
            f"{first.position}: a JSON object where plain text is read (got {text[:40]}); put it in a .jsonl file"
        )
