"""What the hub's process hands over of a data set: its own files where summtune reads their format, else an Arrow file.

`datasets` says which files hold a split. Its readers are passed over where possible, because they give other rows than
a local copy does: pandas takes the text "null" for nothing and 007 for a number, JSON turns dates into timestamps.
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
# What a data set may declare of its files that changes nothing for summtune's readers, which find the separator.
_INDIFFERENT = ("name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter")
_CARD = ["README.md", ".huggingface.yaml", "dataset_infos.json"]


class ProblemError(Exception):
    """Why the hub's data set or model cannot be used, as the user is told."""


def plain_files(builder: Any) -> dict[str, list[str]] | None:
    """Return the paths or addresses of the files of each split; None where they are not read as they are.

    Args:
        builder: what ``datasets.load_dataset_builder`` returns.
    """
    config = builder.config
    if builder.info.builder_name not in ("csv", "json", "parquet", "arrow") or not config.data_files:
        return None
    defaults = type(config)()
    given = [field.name for field in dataclasses.fields(config) if field.name not in _INDIFFERENT]
    if any(getattr(config, name) != getattr(defaults, name) for name in given):
        return None  # columns or rows are declared in the data set's card; `datasets` knows what that means
    files = {str(split): [str(file) for file in names] for split, names in config.data_files.items()}
    return files if all(_kind(file) in _READ_AS for names in files.values() for file in names) else None


def fetched(name: str, revision: str | None, files: dict[str, list[str]]) -> tuple[Path, dict[str, list[str]]] | None:
    """Return the folder with the files of all splits, fetched into the hub's cache, and their paths in it.

    None where some of them are not of this data set's repository. The cache then finds them offline, too.
    """
    start = f"hf://datasets/{name}@"
    if not all(file.startswith(start) for names in files.values() for file in names):
        return None
    inside = {split: [file.removeprefix(start).partition("/")[2] for file in names] for split, names in files.items()}
    patterns = _CARD + [glob.escape(file) for names in inside.values() for file in names]
    folder = huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=patterns)
    return Path(folder), {split: [str(Path(folder) / file) for file in names] for split, names in inside.items()}


def as_answer(files: Collection[str], folder: Path | None) -> list[dict[str, str]]:
    """Return the files as the hub's process names them: ``path``, ``kind`` (an ending) and ``name`` for messages."""
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
    """Return the splits as `datasets` reads them, the named columns of its CSV as the text that the file holds."""
    import datasets

    text: dict[str, Any] = {}
    if builder.info.builder_name == "csv" and builder.config.features is None:
        text = {"converters": dict.fromkeys(columns, str), "keep_default_na": False, "na_filter": False}
    return dict(datasets.load_dataset(where, builder.config.name, revision=revision, **text))


def write_rows(split: Any, columns: Collection[str], path: Path) -> None:
    """Write the named columns of a split to an Arrow file; images and audio are not decoded, nor is any other read.

    Args:
        split: a ``datasets.Dataset``.
        columns: those that are wanted.
        path: the file.

    Raises:
        ProblemError: there is no such column, or it holds no text.
    """
    import pyarrow

    known = dict(_described(split))
    shown = ", ".join(f"{name}{f' of type {kind}' if kind else ''}" for name, kind in known.items())
    for name in columns:
        if name not in known:
            raise ProblemError(f"no column {name}{hint(name, known)} (got columns: {shown or 'none'})")
        if known[name]:
            raise ProblemError(f"{name} holds no text (got a column of type {known[name]}; all columns: {shown})")
    wanted = split.select_columns([name for name in known if name in columns]).with_format("arrow")
    schema = wanted.features.arrow_schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
        for table in wanted.iter(batch_size=1000):
            stream.write_table(table.cast(schema))


def _described(split: Any) -> Iterator[tuple[str, str]]:
    """Yield each column with the name of its type where that holds bytes, and with nothing where it is plain."""
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
