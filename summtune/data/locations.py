"""Finds the files with the rows of a local path and split."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import DataError
from summtune.base.file_endings import FILE_EXTENSIONS, wrong_with_format
from summtune.base.files import CONFIG_BYTES, irregular, read_bounded
from summtune.base.hints import hint

_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?(?P<extension>\.[a-z]+)")
_LISTED = 12


@dataclass(frozen=True)
class Location:
    """The files of one source, in the order of their rows.

    Args:
        files: at least one file.
        split: the split by which the folder's files were selected; None for a single file.
        json_split: for a ``.json`` file, the requested split, which must be a key in it.
    """

    files: tuple[Path, ...]
    split: str | None = None
    json_split: str | None = None


def locate(path: Path, split: str | None, default_split: str) -> Location:
    """Return the files with a split of ``path``, a file or a folder.

    A folder contains ``<split>.{jsonl,json,csv,tsv,parquet,arrow}`` or ``<split>-00000-of-0000N.parquet`` (also below
    ``data/``), or was written by ``datasets``' ``save_to_disk``.

    Args:
        path: absolute.
        split: as the recipe gives it, or None.
        default_split: the split to read from a folder if ``split`` is None.

    Raises:
        DataError: the path does not exist, the format is not supported, or there is no such split (lists the others).
    """
    try:
        if path.is_dir():
            return _locate_in_folder(path, split, default_split)
        if not path.exists():
            raise DataError(f"no such file or folder (got {path}){_nearest_sibling(path)}; correct the path")
    except PermissionError as error:
        raise DataError(f"{path} cannot be read (got {error.strerror}); change its permissions") from error
    if not path.is_file():
        raise DataError(f"not a regular file (got {path}, {irregular(path)}); give a file or a folder")
    wrong = wrong_with_format(str(path))
    if wrong is not None:
        raise DataError(wrong)
    if path.suffix.lower() == ".json":
        return Location((path,), json_split=split)
    if split is not None:
        raise DataError(
            f"{path} is one file and has no splits (got split: {split}); leave out `split`, or give a folder"
        )
    return Location((path,))


def _locate_in_folder(folder: Path, split: str | None, default_split: str) -> Location:
    if (folder / "state.json").is_file():
        return _saved_data_set(folder, split)
    wanted = default_split if split is None else split
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(entry.name for entry in folder.iterdir() if (entry / "state.json").is_file())
        if wanted not in splits:
            raise _no_split(folder, wanted, splits)
        return Location(_arrow_files(folder / wanted), split=wanted)
    by_split: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if entry.suffix.lower() in FILE_EXTENSIONS and entry.is_file():
                shard = _SHARD.fullmatch(entry.name)
                by_split.setdefault(shard["split"] if shard else entry.stem, []).append(entry)
    if wanted not in by_split:
        raise _no_split(folder, wanted, sorted(by_split))
    return Location(_one_set(folder, wanted, by_split[wanted]), split=wanted)


def _one_set(folder: Path, split: str, files: Sequence[Path]) -> tuple[Path, ...]:
    """Return ``files`` if they are one file or one complete set of shards; others would repeat or lose rows."""
    shards = [_SHARD.fullmatch(file.name) for file in files]
    if len(files) == 1 and shards[0] is None:
        return tuple(files)
    sets = {
        (file.parent, shard["count"], shard["extension"]) if shard else file
        for file, shard in zip(files, shards, strict=True)
    }
    if len(sets) > 1:
        names = _listed([str(file.relative_to(folder)) for file in files])
        raise DataError(
            f"{folder} contains split {split} more than once (got {names}); keep one, or give the file as `path`"
        )
    first = shards[0]
    assert first is not None, "several files that form one set are shards"
    missing = sorted(set(range(int(first["count"]))) - {int(shard["index"]) for shard in shards if shard})
    if missing:
        name = f"{split}-{missing[0]:05d}-of-{first['count']}{first['extension']}"
        raise DataError(
            f"{files[0].parent} lacks {len(missing)} of the {int(first['count'])} shards of split {split}"
            f" (got no {name}); download the folder again"
        )
    return tuple(files)


def _saved_data_set(folder: Path, split: str | None) -> Location:
    """Return the Arrow files of one data set (not a DatasetDict) that ``save_to_disk`` wrote."""
    held = _state(folder).get("_split")
    if split is not None and split != held:
        raise DataError(
            f"{folder} is one saved data set{f' of split {held}' if held else ' and has no splits'}"
            f" (got split: {split}); leave out `split`"
        )
    return Location(_arrow_files(folder), split=held)


def _arrow_files(folder: Path) -> tuple[Path, ...]:
    state = _state(folder)
    if state.get("_indices_data_files"):
        # datasets before 2.0 stored a selection next to the rows; without it, deselected rows would be read too.
        raise DataError(
            f"{folder} was saved with an index of selected rows; load it and save it again with datasets>=2"
        )
    files = tuple(folder / Path(entry["filename"]).name for entry in state["_data_files"])
    for file in files:
        if not file.is_file():
            raise DataError(f"{folder} is not complete (got no {file.name}, which state.json names); save it again")
    if not files:
        raise DataError(f"{folder} contains no rows (got no data files in state.json); save it again")
    return files


def _state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    try:
        state = json.loads(read_bounded(path, CONFIG_BYTES))
        state["_data_files"] = [{"filename": str(entry["filename"])} for entry in state["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} was not written by datasets' save_to_disk (got {error!r}); save it again") from error
    return dict(state)


def _no_split(folder: Path, wanted: str, splits: Sequence[str]) -> DataError:
    if splits:
        return DataError(
            f"{folder} has no split {wanted}{hint(wanted, splits)} (got splits: {_listed(splits)}); set `split`"
        )
    names = sorted(entry.name for entry in folder.iterdir())
    files = f"got: {_listed(names)}" if names else "the folder is empty"
    return DataError(
        f"{folder} contains no data ({files}); it needs {wanted}.jsonl, .json, .csv, .tsv, .parquet or .arrow,"
        f" parquet shards {wanted}-00000-of-0000N.parquet, or the files of datasets' save_to_disk"
    )


def _nearest_sibling(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor its folder {path.parent}"
    return hint(path.name, [entry.name for entry in path.parent.iterdir()])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
