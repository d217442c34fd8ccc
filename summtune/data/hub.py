"""The process that accesses the Hugging Face hub; `summtune.data.hub_access` starts it and reads one JSON object.

    summtune.data.hub dataset ID --split SPLIT --rows FILE --column NAME... [--name CONFIG] [--revision REVISION]
    summtune.data.hub model ID [--revision REVISION] [--no-weights]

The answer has the ``revision``. For a model it has the ``path``; for a data set, the ``files``, each with ``path``,
``kind`` and ``name``: either the original files, or FILE with the named columns. On failure it is
``{"problem": ...}``: one sentence for the user.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from summtune.base.printing import say, show_json
from summtune.data.hub_datasets import ProblemError, as_answer, fetched, loaded, plain_files, write_rows

# The files of a model and its tokenizer, at the top of the repository; none of them can be a pickle.
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_SUBFOLDERS = ["*/*"]
_ANSWER_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE_ASKED_FOR = constants.HF_HUB_OFFLINE


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the request and print the answer; return the exit code (0 even if the answer is a problem)."""
    given = _parser().parse_args(arguments)
    # Output of the libraries goes to the terminal; stdout carries only the answer.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = _dataset(given) if given.what == "dataset" else _model(given.id, given.revision, given.weights)
        except Exception as error:
            answer = {"problem": _problem(error, given)}
    show_json(answer, indent=None)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="summtune.data.hub", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    for what in ("dataset", "model"):
        kind = kinds.add_parser(what)
        kind.add_argument("id")
        kind.add_argument("--revision")
        if what == "model":
            kind.add_argument("--no-weights", dest="weights", action="store_false")
        if what == "dataset":
            kind.add_argument("--name")
            kind.add_argument("--split", required=True)
            kind.add_argument("--rows", type=Path, required=True)
            kind.add_argument("--column", action="append", required=True)
    return parser


def _model(name: str, revision: str | None, with_weights: bool) -> dict[str, Any]:
    left_out = _SUBFOLDERS if with_weights else [*_SUBFOLDERS, "*.safetensors"]
    folder = Path(
        huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=_MODEL_FILES, ignore_patterns=left_out
        )
    )
    if not with_weights:
        return {"path": str(folder), "revision": _commit(folder.name)}
    weights = {file.name for file in folder.glob("*.safetensors")}
    if not weights:
        raise ProblemError(
            f"its copy in {folder} has no safetensors weights (got {_names(folder)}), and pickled ones are not loaded;"
            f" choose a revision or model that has them, or if this one does, fetch it again: hf download {name}"
        )
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(shards - weights):
            raise ProblemError(
                f"its copy in {folder} is not complete (got no {missing[0]}, one of {len(missing)} missing shards);"
                f" fetch it again: hf download {name}"
            )
    return {"path": str(folder), "revision": _commit(folder.name)}


def _dataset(given: argparse.Namespace) -> dict[str, Any]:
    if Path(given.id).exists():
        # datasets.load_dataset prefers a local folder of that name, and would silently read it.
        raise ProblemError(
            f"the current folder contains an entry of this name (got {Path(given.id).absolute()});"
            f" start from another folder, or give it as a local path: ./{given.id}"
        )
    found = _find(given)
    splits: Mapping[str, Any] = found.splits if found.files is None else found.files
    if given.split not in splits:
        raise ProblemError(f"it has no split {given.split} (got splits: {', '.join(splits)}); set `split`")
    if found.files is not None:
        return {"revision": found.commit, "files": as_answer(found.files[given.split], found.folder)}
    write_rows(found.splits[given.split], given.column, given.rows)
    return {"revision": found.commit, "files": [{"path": str(given.rows), "kind": ".arrow", "name": ""}]}


class _Found(NamedTuple):
    """A data set: either the files of each split, in ``folder``, or the splits as `datasets` loads them."""

    files: dict[str, list[str]] | None
    splits: dict[str, Any]
    folder: Path | None
    commit: str | None


def _find(given: argparse.Namespace) -> _Found:
    """Return the data set, from the hub or from the caches of this machine."""
    name, config, revision = given.id, given.name, given.revision
    commit, why_not = _commit_on_hub(name, revision)
    if why_not:
        # Set before importing `datasets`, which would otherwise retry for half a minute.
        constants.HF_HUB_OFFLINE = True
        say(f"{why_not}; looking for {name} in the cache")
    import datasets

    if not why_not:
        builder = datasets.load_dataset_builder(name, config, revision=commit)
        files = plain_files(builder)
        copy = fetched(name, revision, files) if files is not None else None
        if copy is not None:
            return _Found(copy[1], {}, copy[0], commit)
        return _Found(None, loaded(name, builder, commit, given.column), None, commit)
    with contextlib.suppress(LocalEntryNotFoundError, datasets.exceptions.DataFilesNotFoundError):
        folder = _snapshot(name, revision)
        builder = datasets.load_dataset_builder(str(folder), config)
        files = plain_files(builder)
        splits = {} if files is not None else loaded(str(folder), builder, None, given.column)
        return _Found(files, splits, folder, _commit(folder.name))
    try:
        splits = dict(datasets.load_dataset(name, config))
    except ConnectionError as error:
        if revision is not None:
            with contextlib.suppress(LocalEntryNotFoundError):
                raise _other_revision(revision, _snapshot(name, None).name, str(constants.HF_HUB_CACHE)) from error
        caches = f"{constants.HF_HUB_CACHE} and {_prepared_cache()}"
        raise ProblemError(_not_here(name, "dataset", caches, why_not)) from error
    prepared = [file["filename"] for split in splits.values() for file in split.cache_files]
    commit = _commit(Path(prepared[0]).parent.name) if prepared else None
    if revision not in (None, commit):
        # Offline, `datasets` takes the latest prepared copy, regardless of the requested revision.
        raise _other_revision(str(revision), commit or "an unknown revision", _prepared_cache())
    return _Found(None, splits, None, commit)


def _snapshot(name: str, revision: str | None) -> Path:
    """Return the folder of a data set in the hub's cache."""
    return Path(huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision))


def _other_revision(revision: str, held: str, cache: str) -> ProblemError:
    return ProblemError(
        f"revision {revision} is not in the cache {cache} (got {held});"
        " set `revision` to that commit, or fetch it on a machine with network"
    )


def _commit_on_hub(name: str, revision: str | None) -> tuple[str | None, str]:
    """Return the hub's commit for ``revision``, and why the hub does not answer (empty if it does)."""
    if _OFFLINE_ASKED_FOR:
        return None, _why_not(None)
    try:
        return huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=_ANSWER_SECONDS).sha, ""
    except Exception as error:
        if not _unreachable(error):
            raise
        return None, _why_not(error)


def _problem(error: Exception, given: argparse.Namespace) -> str:
    """Return what is wrong and what to do about it, in one sentence."""
    page = f"https://huggingface.co/{'datasets/' if given.what == 'dataset' else ''}{given.id}"
    for cause in _chain(error):
        match cause:
            case ProblemError():
                return str(cause)
            case GatedRepoError():
                return f"access is restricted (got: gated); request it at {page}, then `hf auth login` with your token"
            case RevisionNotFoundError():
                return f"the hub has no such revision (got {given.revision}); see {page}/commits/main"
            case RepositoryNotFoundError():
                return (
                    f"not found on the hub, or private (got {given.id}); check the spelling, or run `hf auth login` if"
                    " it is private"
                )
            case HFValidationError():
                return f"not a valid hub id (got {given.id}); write owner/name, or give an existing local path"
            case LocalEntryNotFoundError():
                return _not_here(given.id, given.what, str(constants.HF_HUB_CACHE), _why_not(error))
    first = str(error).strip().partition("\n")[0]
    return f"it could not be fetched (got {type(error).__name__}: {first}); fix that, or give a local folder"


def _not_here(name: str, what: str, caches: str, why_not: str) -> str:
    option = " --repo-type dataset" if what == "dataset" else ""
    key = "path" if what == "dataset" else "base_model"
    return (
        f"{why_not} and there is no copy in {caches}; run `hf download {name}{option}` on a machine with network and"
        f" set HF_HOME to its cache, or give a local folder as {key}"
    )


def _why_not(error: Exception | None) -> str:
    if _OFFLINE_ASKED_FOR:
        return "offline mode is on (HF_HUB_OFFLINE)"
    *_, cause = _chain(error)
    return f"the hub cannot be reached (got {str(cause).partition(chr(10))[0] or type(cause).__name__})"


def _unreachable(error: Exception) -> bool:
    """Return whether the hub is down or a connection failed (by exception name: the hub's HTTP library changes)."""
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code >= 500
    return any(re.search("Connect|Timeout|Network|Protocol", type(cause).__name__) for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _prepared_cache() -> str:
    import datasets

    return str(datasets.config.HF_DATASETS_CACHE)


def _commit(name: str) -> str | None:
    return name if _COMMIT.fullmatch(name) else None


def _names(folder: Path) -> str:
    return ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "no files"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
