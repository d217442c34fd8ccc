"""Reads the dialogues to summarize: rows of a data file, JSON from a pipe, or plain text."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from summtune.base.errors import DataError
from summtune.base.file_endings import COMPRESSED, FILE_EXTENSIONS
from summtune.data.columns import checked
from summtune.data.encodings import not_utf8, to_utf8, without_mark
from summtune.data.external_predictions import STDIN, content_of
from summtune.data.formats import open_rows
from summtune.data.locations import locate
from summtune.data.messages import conversation_of
from summtune.data.rows import BadRow, Row, RowPosition, RowStream
from summtune.data.turns import dialogue_of, is_turn
from summtune.data.values import UnusableError, identity_of


class Input(NamedTuple):
    """A dialogue to summarize.

    Args:
        dialogue: the turns, line endings as ``\\n``, not empty.
        id: the id in its row; None if it has none.
    """

    dialogue: str
    id: str | None = None


class _Columns(NamedTuple):
    """The names of the columns to read; None for the default.

    Args:
        dialogue: default ``dialogue``.
        messages: of chat messages instead, whose user messages are the dialogue.
        id: default ``id``, if there is one.
    """

    dialogue: str | None = None
    messages: str | None = None
    id: str | None = None

    @property
    def text(self) -> str:
        """The name of the column with the dialogue."""
        return self.messages or self.dialogue or "dialogue"

    @property
    def wanted(self) -> frozenset[str]:
        """The names of the columns that are read."""
        return frozenset((self.text, self.id or "id"))

    def read(self, row: Row) -> Input | BadRow:
        """Return the dialogue of a row, or what is wrong with the row."""
        try:
            if self.messages is not None:
                dialogue = conversation_of(row, self.text, answered=False).dialogue
            else:
                dialogue = dialogue_of(row, self.text)
            named = self.id or ("id" if isinstance(row.values.get("id"), (str, int)) else None)
            return Input(dialogue, None if named is None else identity_of(row, named))
        except UnusableError as unusable:
            return BadRow(row.position, str(unusable))


def read_inputs(
    file: str, dialogue_field: str | None = None, id_field: str | None = None, messages_field: str | None = None
) -> list[Input]:
    """Return the dialogues of ``file`` in order, at least one.

    A file or folder in a data set format is read as a data set (from a folder, the split ``test``). Any other file, and
    standard input, is one dialogue, unless it contains JSON, which is read as rows. JSON that is an array of turns is
    one dialogue.

    Args:
        file: path, or ``-`` for standard input.
        dialogue_field: the column of the dialogues; default ``dialogue``.
        id_field: the column of the ids; default ``id``, if there is one.
        messages_field: a column of chat messages to read instead, whose user messages are the dialogue.

    Raises:
        DataError: the file cannot be read, or rows of it cannot be used, with file and row; or there is no dialogue.
    """
    if messages_field is not None and dialogue_field is not None:
        raise DataError(
            f"--dialogue-field has no effect with --messages-field (got {dialogue_field} and {messages_field}); leave "
            "one out"
        )
    columns = _Columns(dialogue_field, messages_field, id_field)
    path = Path(file)
    if file != STDIN and (path.is_dir() or not path.exists() or path.suffix.lower() in (*FILE_EXTENSIONS, *COMPRESSED)):
        location = locate(path.absolute(), None, "test")
        if path.suffix.lower() == ".json" and path.is_file():
            turns = _turns(without_mark(to_utf8(content_of(file), file)), file, columns)
            if turns is not None:
                return _read(turns, file, columns)
        streams = [
            open_rows(each, str(each), columns.wanted, None, location.split or "test")[1] for each in location.files
        ]
        return _read(itertools.chain.from_iterable(streams), file, columns)
    shown = "standard input" if file == STDIN else file
    with tempfile.TemporaryDirectory(prefix="summtune-") as folder:
        copy = Path(folder) / "input"
        content = without_mark(to_utf8(content_of(file, named_pipes=True), shown))
        turns = _turns(content, shown, columns)
        if turns is not None:
            return _read(turns, shown, columns)
        rows = _as_json(content)
        copy.write_bytes(content if rows is None else rows[1])
        if rows is not None:
            return _read(open_rows(copy, shown, None, None, "test", rows[0])[1], shown, columns)
        for option, column in (
            ("--dialogue-field", dialogue_field),
            ("--messages-field", messages_field),
            ("--id-field", id_field),
        ):
            if column is not None:
                raise DataError(f"plain text has no columns (got {option} {column} for {shown}); leave it out")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(copy, shown) from error
    if not text or text.isspace():
        got = "only white space" if text else "nothing"
        raise DataError(f"there is no dialogue to summarize (got {got} from {shown}); give its turns, one per line")
    return [Input(text.replace("\r\n", "\n").replace("\r", "\n"))]


def _read(rows: RowStream, shown: str, columns: _Columns) -> list[Input]:
    inputs: list[Input] = list(checked(rows, columns.read))
    if not inputs:
        raise DataError(f"there is no dialogue to summarize (got no rows in {shown}); give at least one")
    return inputs


def _turns(content: bytes, shown: str, columns: _Columns) -> RowStream | None:
    """Return the one row of JSON that is an array of turns; None for any other text, rows with a dialogue included."""
    turns = _value(content) if content.lstrip().startswith(b"[") else None
    if not isinstance(turns, list) or not turns or not all(map(is_turn, turns)):
        return None
    if columns != _Columns() or any("dialogue" in turn for turn in turns if isinstance(turn, dict)):
        return None
    return iter([Row(RowPosition(shown, "row", 1), {columns.text: turns})])


def _as_json(content: bytes) -> tuple[str, bytes] | None:
    """Return the ending of the JSON format that a text is in, and the text; None for plain text.

    A dialogue may also start with a brace or bracket, so the text must be an object or a list of them, or start like
    one.
    """
    text = content.lstrip()
    if not text.startswith((b"{", b"[")):
        return None
    first = _value(text.partition(b"\n")[0])
    if isinstance(first, dict):
        return ".jsonl", content
    whole = _value(text)
    if isinstance(whole, dict) and not any(isinstance(whole.get(key), list) for key in ("test", "data")):
        return ".jsonl", json.dumps(whole).encode()  # one object over several lines
    if isinstance(whole, dict) or (isinstance(whole, list) and whole and all(isinstance(row, dict) for row in whole)):
        return ".json", content
    return (".jsonl", content) if text.startswith(b'{"') else None


def _value(text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
