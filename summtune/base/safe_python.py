"""Starts Python subprocesses that never import files from the current folder.

``python -m`` and ``python -c`` put the current folder first on the path: a user's ``statistics.py`` or
``tokenizers.py`` there would be imported, and run, instead of the library. Therefore the script
`summtune.base.start` is started instead, on every supported Python; from 3.11 on, PYTHONSAFEPATH also protects the
processes that libraries start.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

START = str(Path(__file__).resolve().with_name("start.py"))


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package with this Python."""
    return [sys.executable, START, module, *arguments]


def safe_environment() -> dict[str, str]:
    """Return the environment for a Python subprocess: this process's, without the current folder on the path.

    Waiting threads leave the cores to other programs. GNU's OpenMP, which torch uses, would let them spin 300,000 times
    while the threads that they wait for get no core: two runs at once took seven times as long as one. OpenMP itself
    takes 1,000 when a process has more threads than there are cores.

    Python takes an empty entry in PYTHONPATH (from ``PYTHONPATH=$PYTHONPATH:/more`` when it was not set) as the current
    folder. It is removed. An entry that names a folder, even ``.``, is deliberate and stays.
    """
    values = os.environ | {"PYTHONSAFEPATH": "1"}
    if "OMP_WAIT_POLICY" not in values:
        values.setdefault("GOMP_SPINCOUNT", "1000")
    entries = _named_entries()
    if entries:
        values["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        values.pop("PYTHONPATH", None)
    return values


def forget_current_folder() -> None:
    """Remove the current folder from this process's path if an empty entry in PYTHONPATH put it there."""
    given = os.environ.get("PYTHONPATH", "")
    named = _named_entries()
    if not given or len(named) == given.count(os.pathsep) + 1:
        return
    here = str(Path.cwd())
    if here not in map(os.path.abspath, named):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def _named_entries() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
