"""Finds the executable of vLLM, which is installed in a separate environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from summtune.base.errors import InputError

VARIABLE = "SUMMTUNE_VLLM"
_INSTALL = (
    "install vLLM in a separate environment (python3 -m venv ~/vllm; ~/vllm/bin/pip install vllm) and "
    f"set {VARIABLE} to the path of its executable (export {VARIABLE}=~/vllm/bin/vllm)"
)


def vllm_executable(environment: Mapping[str, str]) -> str:
    """Return the path of vLLM's executable, or of a script that starts it.

    Args:
        environment: such as ``os.environ``.

    Raises:
        InputError: ``SUMMTUNE_VLLM`` is not set, or does not name an executable file.
    """
    given = environment.get(VARIABLE, "").strip()
    if not given:
        raise InputError(f"`engine: vllm` needs vLLM's executable (got no value of {VARIABLE}); {_INSTALL}")
    path = Path(given).expanduser().absolute()  # not resolved: a link may lead into another environment
    if not (path.is_file() and os.access(path, os.X_OK)):
        what = "a file that cannot be executed" if path.is_file() else "no such file"
        raise InputError(f"{VARIABLE} does not name vLLM's executable (got {given}, {what}); {_INSTALL}")
    return str(path)
