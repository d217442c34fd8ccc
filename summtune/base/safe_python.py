"""Starts other Pythons, none of which imports a file that happens to be in the current folder.

``python -m`` and ``python -c`` put the current folder before everything else: a user's ``statistics.py`` or
``tokenizers.py`` there would be imported, and run, instead of the library. On every supported Python the script
`summtune.base.start` is started instead; from 3.11 on, PYTHONSAFEPATH also protects what the libraries start.
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
    """Return the environment for another Python: this process's, with a path that the current folder is not part of.

    An empty entry in PYTHONPATH (``PYTHONPATH=$PYTHONPATH:/more`` where it was not set) is the current folder to
    Python. It is left out. An entry that names a folder, ``.`` too, was put there on purpose and stays.
    """
    values = os.environ | {"PYTHONSAFEPATH": "1"}
    entries = _named_entries()
    if entries:
        values["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        values.pop("PYTHONPATH", None)
    return values


def forget_current_folder() -> None:
    """Take the current folder off this process's path where an empty entry in PYTHONPATH put it there."""
    given = os.environ.get("PYTHONPATH", "")
    named = _named_entries()
    if not given or len(named) == given.count(os.pathsep) + 1:
        return
    here = str(Path.cwd())
    if here not in map(os.path.abspath, named):
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def _named_entries() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
