"""Where the command under test is."""

import sysconfig
from pathlib import Path

from summtune.base.safe_python import python_command


def command_path():
    """Return the installed command of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "summtune")


def command_words():
    """Return how to start the command: as installed, or else from the checkout."""
    return [command_path()] if Path(command_path()).exists() else python_command("summtune")
