"""Where the command under test is."""

import sys
import sysconfig
from pathlib import Path


def command_path():
    """Return the installed command of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "summtune")


def command_words():
    """Return how to start the command: as installed, or else as a module of the path."""
    return [command_path()] if Path(command_path()).exists() else [sys.executable, "-m", "summtune"]
