"""The process that talks to the Hugging Face hub: run by `summtune.hub_access`, answers with one JSON object on stdout.

    summtune.hub dataset ID --split SPLIT --rows FILE [--name CONFIG] [--revision REVISION]
    summtune.hub model ID [--revision REVISION]

The answer is ``{"revision": ...}`` (a model's also has ``path``), or ``{"problem": ...}``: one sentence for the user.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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

# What an encoder-decoder model and its tokenizer need, at the top of the repository; nothing that may be a pickle.
_MODEL_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
_SUBFOLDERS = ["*/*"]
_ANSWER_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OFFLINE_ASKED_FOR = constants.HF_HUB_OFFLINE


class ProblemError(Exception):
    """Why the hub's data set or model cannot be used, as the user is told."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments ask and print the answer; return the exit code (0 even where the answer is a problem)."""
    given = _parser().parse_args(arguments)
    # Whatever the libraries print belongs to the terminal; stdout carries the answer alone.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = _dataset(given) if given.what == "dataset" else _model(given.id, given.revision)
        except Exception as error:
            answer = {"problem": _problem(error, given)}
    print(json.dumps(answer))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="summtune.hub", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    for what in ("dataset", "model"):
        kind = kinds.add_parser(what)
        kind.add_argument("id")
        kind.add_argument("--revision")
        if what == "dataset":
            kind.add_argument("--name")
            kind.add_argument("--split", required=True)
            kind.add_argument("--rows", type=Path, required=True)
    return parser


def _model(name: str, revision: str | None) -> dict[str, Any]:
    folder = Path(
        huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=_MODEL_FILES, ignore_patterns=_SUBFOLDERS
        )
    )
    weights = {file.name for file in folder.glob("*.safetensors")}
    if not weights:
        raise ProblemError(
            f"its copy in {folder} has no safetensors weights (got {_names(folder)}), and pickled ones are not loaded;"
            f" choose a revision or model that has them, or if it does, fetch it again: hf download {name}"
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
        # datasets.load_dataset prefers a local folder of that name, and would read it in silence.
        raise ProblemError(
            f"the current folder holds something of this name (got {Path(given.id).absolute()});"
            f" start from another folder, or give it as a local path: ./{given.id}"
        )
    loaded, revision = _load(given.id, given.name, given.revision)
    if given.split not in loaded:
        raise ProblemError(f"it has no split {given.split} (got splits: {', '.join(loaded)}); set `split`")
    with given.rows.open("w", encoding="utf-8") as lines:
        for row in _plain_rows(loaded[given.split]):
            lines.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    return {"revision": revision}


def _load(name: str, config: str | None, revision: str | None) -> tuple[dict[str, Any], str | None]:
    """Return the data set's splits by name and its commit, from the hub or from the caches of this machine."""
    commit, why_not = _commit_on_hub(name, revision)
    if why_not:
        # Known before `datasets` is imported, which without an answer would try for half a minute.
        constants.HF_HUB_OFFLINE = True
        print(f"{why_not}; looking for {name} in the cache", file=sys.stderr)
    import datasets

    if not why_not:
        return dict(datasets.load_dataset(name, config, revision=commit)), commit
    with contextlib.suppress(LocalEntryNotFoundError, datasets.exceptions.DataFilesNotFoundError):
        folder = Path(huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision))
        return dict(datasets.load_dataset(str(folder), config)), _commit(folder.name)
    try:
        loaded = dict(datasets.load_dataset(name, config))
    except ConnectionError as error:
        caches = f"{constants.HF_HUB_CACHE} and {_prepared_cache()}"
        raise ProblemError(_not_here(name, "dataset", caches, why_not)) from error
    files = [file["filename"] for split in loaded.values() for file in split.cache_files]
    prepared = _commit(Path(files[0]).parent.name) if files else None
    if revision not in (None, prepared):
        # Offline, `datasets` takes the latest prepared copy, whatever revision is asked for.
        raise ProblemError(
            f"revision {revision} is not in the cache {_prepared_cache()} (got {prepared or 'an unknown revision'});"
            " set `revision` to that commit, or fetch it on a machine with network"
        )
    return loaded, prepared


def _commit_on_hub(name: str, revision: str | None) -> tuple[str | None, str]:
    """Return the commit that the hub has under ``revision``, and why the hub does not answer (empty where it does)."""
    if _OFFLINE_ASKED_FOR:
        return None, _why_not(None)
    try:
        return huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=_ANSWER_SECONDS).sha, ""
    except Exception as error:
        if not _unreachable(error):
            raise
        return None, _why_not(error)


def _plain_rows(split: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows without columns that are no plain values: images and audio would be decoded for nothing."""
    plain = [name for name, feature in split.features.items() if type(feature).__name__ == "Value"]
    yield from split.select_columns(plain)


def _problem(error: Exception, given: argparse.Namespace) -> str:
    """Return what is wrong and what to do about it, in one sentence."""
    page = f"https://huggingface.co/{'datasets/' if given.what == 'dataset' else ''}{given.id}"
    for cause in _chain(error):
        match cause:
            case ProblemError():
                return str(cause)
            case GatedRepoError():
                return f"access is restricted (got: gated); ask for it at {page}, then `hf auth login` with your token"
            case RevisionNotFoundError():
                return f"the hub has no such revision (got {given.revision}); see {page}/commits/main"
            case RepositoryNotFoundError():
                return (
                    f"the hub does not have it, or does not show it to you (got {given.id}); check the spelling, or"
                    " `hf auth login` if it is private"
                )
            case HFValidationError():
                return f"not a hub id (got {given.id}); write owner/name, or give an existing local path"
            case LocalEntryNotFoundError():
                return _not_here(given.id, given.what, str(constants.HF_HUB_CACHE), _why_not(error))
    first = str(error).strip().partition("\n")[0]
    return f"it could not be fetched (got {type(error).__name__}: {first}); correct that, or give a local folder"


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
    """Whether the hub is down, or a connection failed (by name: the HTTP library under the hub's changes)."""
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
