"""Selects the files of a hub data set: the original ones if summtune reads their format, else an Arrow file.

`datasets` determines the files of a split. Its readers are avoided if possible, because their rows differ from those
of a local copy: pandas reads the text "null" as missing and 007 as a number, JSON turns dates into timestamps.
"""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub

from summtune.base.hints import hint

_READ_AS = {
    ".csv": ".csv",
    ".tsv": ".tsv",
    ".json": ".json",
    ".jsonl": ".jsonl",
    ".ndjson": ".jsonl",
    ".parquet": ".parquet",
    ".arrow": ".arrow",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")
# Settings of a data set that do not affect summtune's readers, which detect the separator themselves.
_INDIFFERENT = ("name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter")
_CARD = ["README.md", ".huggingface.yaml", "dataset_infos.json"]


class ProblemError(Exception):
    """A hub data set or model cannot be used; the message is for the user."""


def plain_files(builder: Any) -> dict[str, list[str]] | None:
    """Return the paths or URLs of the files of each split; None if they cannot be read directly.

    Args:
        builder: the result of ``datasets.load_dataset_builder``.
    """
    config = builder.config
    if builder.info.builder_name not in ("csv", "json", "parquet", "arrow") or not config.data_files:
        return None
    defaults = type(config)()
    given = [field.name for field in dataclasses.fields(config) if field.name not in _INDIFFERENT]
    if any(getattr(config, name) != getattr(defaults, name) for name in given):
        return None  # the data set's card declares columns or rows, which `datasets` interprets
    files = {str(split): [str(file) for file in names] for split, names in config.data_files.items()}
    return files if all(_kind(file) in _READ_AS for names in files.values() for file in names) else None


def fetched(name: str, revision: str | None, files: dict[str, list[str]]) -> tuple[Path, dict[str, list[str]]] | None:
    """Return the folder with the files of all splits, fetched into the hub's cache, and their paths in it.

    None if some of them are not in this data set's repository. Once fetched, the cache also finds them offline.
    """
    start = f"hf://datasets/{name}@"
    if not all(file.startswith(start) for names in files.values() for file in names):
        return None
    inside = {split: [file.removeprefix(start).partition("/")[2] for file in names] for split, names in files.items()}
    patterns = _CARD + [glob.escape(file) for names in inside.values() for file in names]
    folder = huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns)
    return Path(folder), {split: [str(Path(folder) / file) for file in names] for split, names in inside.items()}


def as_answer(files: Collection[str], folder: Path | None) -> list[dict[str, str]]:
    """Return the files as in the hub process's answer: ``path``, ``kind`` (an ending) and ``name`` for messages."""
    import datasets

    answer = []
    for file in files:
        path = Path(file)
        name = path.relative_to(folder) if folder is not None and path.is_relative_to(folder) else Path(path.name)
        if path.suffix.lower() in _COMPRESSED:
            path = Path(datasets.DownloadManager().extract(str(path)))
        answer.append({"path": str(path), "kind": _READ_AS[_kind(file)], "name": name.as_posix()})
    return answer


def loaded(where: str, builder: Any, revision: str | None, columns: Collection[str]) -> dict[str, Any]:
    """Return the splits as `datasets` reads them, with the named columns of a CSV as unconverted text."""
    import datasets

    text: dict[str, Any] = {}
    if builder.info.builder_name == "csv" and builder.config.features is None:
        text = {"converters": dict.fromkeys(columns, str), "keep_default_na": False, "na_filter": False}
    return dict(datasets.load_dataset(where, builder.config.name, revision=revision, **text))


def write_rows(split: Any, columns: Collection[str], path: Path) -> None:
    """Write the named columns of a split to an Arrow file; no other column is read, and images are not decoded.

    Args:
        split: a ``datasets.Dataset``.
        columns: the names of the columns.
        path: the file.

    Raises:
        ProblemError: there is no such column, or it does not contain text.
    """
    import pyarrow

    known = dict(_described(split))
    shown = ", ".join(f"{name}{f' of type {kind}' if kind else ''}" for name, kind in known.items())
    for name in columns:
        if name not in known:
            raise ProblemError(f"no column {name}{hint(name, known)} (got columns: {shown or 'none'})")
        if known[name]:
            raise ProblemError(f"{name} is not text (got a column of type {known[name]}; all columns: {shown})")
    wanted = split.select_columns([name for name in known if name in columns]).with_format("arrow")
    schema = wanted.features.arrow_schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for table in wanted.iter(batch_size=1000):
            stream.write_table(table.cast(schema))


def _described(split: Any) -> Iterator[tuple[str, str]]:
    """Yield each column with the name of its type if that contains bytes, and an empty text otherwise."""
    schema = split.features.arrow_schema
    for name, feature in split.features.items():
        kind = type(feature).__name__
        yield name, (feature.dtype if kind == "Value" else kind) if _holds_bytes(schema.field(name).type) else ""


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types

    binary = (pyarrow.types.is_binary, pyarrow.types.is_large_binary, pyarrow.types.is_fixed_size_binary)
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return any(is_binary(kind) for is_binary in binary) or any(map(_holds_bytes, inner))


def _kind(file: str) -> str:
    path = PurePosixPath(file)
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()
