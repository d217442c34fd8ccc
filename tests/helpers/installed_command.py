"""Where the command under test is."""

import sysconfig
from pathlib import Path


def command_path():
    """Return the installed command of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "summtune")
