"""Keeps lm_head apart from the embedding while a model is loaded, where its files hold another matrix for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from summtune.machine.stored_tensors import stored_tensors

_HEAD = "lm_head.weight"
_ROWS = 1024
"""Rows that are compared at once: two matrices that differ nearly always do so in the first ones."""


@contextlib.contextmanager
def head_as_stored(model_class: Any, folder: Path, copies_count: bool) -> Iterator[None]:
    """Let transformers tie lm_head to the embedding only if the files do not hold a matrix for each.

    transformers 5 believes a config that says that they are tied, as that of every T5 does, and unties FLAN-T5 only
    because it compares the two. Under ZeRO-3 both are sharded and look equal (empty), so the embedding would silently
    replace lm_head.

    Args:
        model_class: of transformers; None if it has none for this config.
        folder: with safetensors.
        copies_count: whether an lm_head that equals the embedding is a separate matrix, rather than a copy that was
            saved although the two are tied.
    """
    tied = getattr(model_class, "_tied_weights_keys", None)
    if not isinstance(tied, dict) or _HEAD not in tied or not _apart(folder, tied, copies_count):
        yield
        return
    model_class._tied_weights_keys = {name: source for name, source in tied.items() if name != _HEAD}
    try:
        yield
    finally:
        model_class._tied_weights_keys = tied


def _apart(folder: Path, tied: Mapping[str, str], copies_count: bool) -> bool:
    """Return whether the files hold a matrix for lm_head and another for the embedding."""
    stored = stored_tensors(folder)
    if _HEAD not in stored or copies_count:
        return _HEAD in stored
    group = {tied[_HEAD], *(name for name, source in tied.items() if source == tied[_HEAD])} - {_HEAD}
    # The files of a base model lack the prefix of the class with a head: wte.weight is transformer.wte.weight.
    embedding = next((name for name in stored if any(f".{one}".endswith(f".{name}") for one in group)), None)
    if embedding is None or stored[_HEAD] != stored[embedding]:
        return embedding is not None
    with contextlib.ExitStack() as files:
        head, rows = (_slice(files, folder, name) for name in (_HEAD, embedding))
        return any(
            not bool((head[at : at + _ROWS] == rows[at : at + _ROWS]).all()) for at in range(0, stored[_HEAD][0], _ROWS)
        )


def _slice(files: contextlib.ExitStack, folder: Path, name: str) -> Any:
    """Return a tensor that is read row by row."""
    for path in sorted(folder.glob("*.safetensors")):
        tensors = files.enter_context(safe_open(path, framework="pt"))
        if name in tensors.keys():  # noqa: SIM118, an open safetensors file is not a mapping
            return tensors.get_slice(name)
    raise AssertionError(f"{name} is among the stored tensors")
