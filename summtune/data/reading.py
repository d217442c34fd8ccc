"""Reads the dialogues of a recipe's sources, with the references of each dialogue grouped."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from summtune.base.errors import DataError
from summtune.base.file_endings import FILE_EXTENSIONS
from summtune.base.hints import hint
from summtune.base.numbers import counted
from summtune.data.columns import Columns, EmptyRow, Record, and_more, checked
from summtune.data.formats import open_rows
from summtune.data.grouping import Grouping, RepeatedId
from summtune.data.hub_access import fetch_dataset
from summtune.data.locations import Location, locate
from summtune.data.rows import Row, RowPosition, RowStream
from summtune.recipe.sections import DatasetSource
from summtune.runs.records import Dialogue

_BUILTIN = "builtin/dialogues"


@dataclass(frozen=True)
class SourceInfo:
    """What was read from one source.

    Args:
        path: as in the source.
        split: the split that was read; None for a single file without splits.
        count: number of dialogues that it added.
        revision: the commit of a hub data set, if known.
        skipped_rows: number of rows without dialogue or summary that ``on_empty: skip`` left out.
        empty_references: number of empty references that were left out of rows with others.
        system_messages: number of rows with system messages, which are not part of their dialogue.
    """

    path: str
    split: str | None
    count: int
    revision: str | None
    skipped_rows: int = 0
    empty_references: int = 0
    system_messages: int = 0


@dataclass(frozen=True)
class LoadedDialogues:
    """The dialogues of some sources, in the order of their first rows.

    Args:
        dialogues: each distinct dialogue once, with all its references; ids are unique.
        rows: number of rows that were used: ``len(dialogues) + repeated_rows``.
        repeated_rows: number of rows that became further references of an earlier dialogue.
        doubled_references: number of identical references of one dialogue that were dropped.
        sources: one for each source, in their order.
        repeated_ids: rows that repeat a dialogue under another id.
    """

    dialogues: list[Dialogue]
    rows: int
    repeated_rows: int
    doubled_references: int
    sources: tuple[SourceInfo, ...]
    repeated_ids: tuple[RepeatedId, ...] = ()

    @property
    def skipped_sentence(self) -> str:
        """What ``on_empty: skip`` left out of which sources; empty if it left out nothing."""
        parts = [
            f"{count:,} {what if count == 1 else f'{what}s'} of {source.path}"
            for source in self.sources
            for count, what in ((source.skipped_rows, "empty row"), (source.empty_references, "empty reference"))
            if count
        ]
        return f"skipped {' and '.join(parts)} (on_empty: skip)" if parts else ""

    @property
    def system_sentence(self) -> str:
        """How many rows of which sources have system messages, which no model is shown; empty without any."""
        parts = [
            f"{counted(source.system_messages, 'row')} of {source.path}"
            for source in self.sources
            if source.system_messages
        ]
        return f"system messages are not part of the dialogue (got {' and '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class _Opened:
    """A located source: the possible prefixes of its ids, its revision, and its records, which are not yet read."""

    split: str | None
    holder: str
    stem: str
    revision: str | None
    records: Iterator[Record | EmptyRow]


def read_dialogues(sources: Sequence[DatasetSource], default_split: str) -> LoadedDialogues:
    """Return the dialogues of all sources; rows that repeat a dialogue add references to it.

    A source's ``limit`` counts its distinct dialogues; later rows that repeat one of those still add references.
    Without ``id_field``, ids are ``<split or file stem>_<row, from 0>``. If several sources would have the same
    prefix, the name of the folder or data set is prepended, and if that is not enough, the source's number is appended.

    Args:
        sources: at least one; local paths absolute, ``builtin/dialogues`` and hub ids unchanged.
        default_split: the split to read from folders and hub data sets whose ``split`` is None.

    Raises:
        DataError: a source that cannot be read, or rows that cannot be used, with file and row.
    """
    grouping = Grouping()
    with ExitStack() as stack:
        opened = [_open(source, default_split, stack) for source in sources]
        prefixes = _id_prefixes(sources, opened)
        infos = tuple(
            _add(grouping, source, one, prefix) for source, one, prefix in zip(sources, opened, prefixes, strict=True)
        )
    return LoadedDialogues(
        dialogues=grouping.dialogues(),
        rows=grouping.rows,
        repeated_rows=grouping.repeated_rows,
        doubled_references=grouping.doubled_references,
        sources=infos,
        repeated_ids=tuple(grouping.repeated_ids),
    )


def first_columns(source: DatasetSource, default_split: str) -> list[str]:
    """Return the columns of a local source's first row; empty if it has no readable row.

    Raises:
        DataError: the file or split does not exist, or cannot be read.
    """
    location = locate(Path(source.path), source.split, default_split)
    file = location.files[0]
    _, rows = open_rows(file, str(file), None, location.json_split, location.split or default_split)
    first = next(rows, None)
    return [str(name) for name in first.values] if isinstance(first, Row) else []


def _add(grouping: Grouping, source: DatasetSource, opened: _Opened, prefix: str) -> SourceInfo:
    """Group the records of a source; return what was read."""
    before = len(grouping)
    grouping.start_source(source.limit)
    row, skipped, left_out, instructed = -1, 0, 0, 0
    first: EmptyRow | None = None
    absent: Mapping[str, str] = {}
    start: RowPosition | None = None
    for row, record in enumerate(opened.records):
        if start is None:
            start, absent = record.position, record.absent
        elif absent:
            absent = {name: problem for name, problem in absent.items() if name in record.absent}
        if isinstance(record, EmptyRow):
            first = first or record
            skipped += 1
        else:
            left_out += record.left_out
            instructed += record.has_system
            grouping.add(record, record.id if record.id is not None else f"{prefix}_{row}")
    if row < 0:
        raise DataError(f"{source.path} is empty (got no rows); give a source that has rows")
    for problem in absent.values():  # no row has this column: its name is wrong, rather than its values empty
        raise DataError(f"{start}{and_more(row + 1)}: {problem}")
    if first is not None and skipped > row:
        keys = "messages_field" if source.type == "messages" else "dialogue_field and summary_field"
        raise DataError(
            f"{source.path} has only empty rows (got {skipped:,}, all skipped by `on_empty: skip`; the first is "
            f"{first.position}: {first.problem}); check {keys}"
        )
    return SourceInfo(source.path, opened.split, len(grouping) - before, opened.revision, skipped, left_out, instructed)


def _open(source: DatasetSource, default_split: str, stack: ExitStack) -> _Opened:
    path = Path(source.path)
    if source.path.startswith("builtin/"):
        return _open_builtin(source, source.split or default_split)
    if path.is_absolute():
        return _open_local(source, locate(path, source.split, default_split), default_split)
    if path.suffix.lower() in FILE_EXTENSIONS or source.path.count("/") > 1:
        raise DataError(f"no such file (got {source.path}, not an absolute path); correct the path")
    columns = Columns.of(source)
    split = source.split or default_split
    into = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="summtune-")))
    fetched = fetch_dataset(source, split, into, columns.wanted)
    shown = f"{source.path} (split {split})"
    streams = [
        open_rows(file.path, f"{shown}, {file.name}" if file.name else shown, columns.wanted, None, split, file.kind)[1]
        for file in fetched.files
    ]
    records: Iterator[Record | EmptyRow] = checked(itertools.chain.from_iterable(streams), columns.record)
    return _Opened(split, path.name, split, fetched.revision, records)


def _open_builtin(source: DatasetSource, split: str) -> _Opened:
    if source.path != _BUILTIN:
        raise DataError(
            f"no such builtin data set (got {source.path}){hint(source.path, [_BUILTIN])}; there is {_BUILTIN}"
        )
    columns = Columns.of(source)
    on_empty = "skip" if columns.skip_empty else None
    for key, value in (
        ("name", source.name),
        ("revision", source.revision),
        ("id_field", source.id_field),
        ("on_empty", on_empty),
        ("type", "messages" if columns.messages else None),
    ):
        if value is not None:
            raise DataError(f"{_BUILTIN} has no {key} (got {value}); remove it")
    for key, name, known in (
        ("dialogue_field", columns.dialogue, "dialogue"),
        ("summary_field", columns.summaries, "summary"),
    ):
        if name not in (known, (known,)):
            raise DataError(f"{_BUILTIN} has only the columns dialogue and summary (got {key}: {name}); remove it")
    return _Opened(split, "builtin", split, None, _builtin_records(split, source.limit))


def _builtin_records(split: str, limit: int | None) -> Iterator[Record]:
    from summtune.data.builtin import dialogues

    for number, made in enumerate(itertools.islice(dialogues(split), limit), start=1):
        yield Record(RowPosition(f"{_BUILTIN} (split {split})", "row", number), made.dialogue, made.references, made.id)


def _open_local(source: DatasetSource, location: Location, default_split: str) -> _Opened:
    for key, value in (("name", source.name), ("revision", source.revision)):
        if value is not None:
            raise DataError(f"{key} is only for hub data sets (got {value} for {source.path}); remove it")
    columns = Columns.of(source)
    path = Path(source.path)
    holder, own = (path.name, path.name) if path.is_dir() else (path.parent.name, path.stem)
    split, stem = location.split, location.split or own
    streams: list[RowStream] = []
    for file in location.files:
        chosen, rows = open_rows(file, str(file), columns.wanted, location.json_split, location.split or default_split)
        split, stem = chosen or split, chosen or stem
        streams.append(rows)
    records: Iterator[Record | EmptyRow] = checked(itertools.chain.from_iterable(streams), columns.record)
    return _Opened(split, holder, stem, None, records)


def _id_prefixes(sources: Sequence[DatasetSource], opened: Sequence[_Opened]) -> list[str]:
    """Return a unique id prefix for each source without an id column."""
    stems = [one.stem for one in opened]
    named = [f"{one.holder}_{one.stem}" for one in opened]
    numbered = [f"{name}_{place}" for place, name in enumerate(named, start=1)]
    prefixes = stems
    for longer in (named, numbered):
        seen = Counter(prefix for prefix, source in zip(prefixes, sources, strict=True) if source.id_field is None)
        prefixes = [new if seen[old] > 1 else old for old, new in zip(prefixes, longer, strict=True)]
    return prefixes
