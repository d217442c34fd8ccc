"""The entry point of ``summtune`` and of ``python -m summtune``."""

import sys

from summtune.base.safe_python import forget_current_folder


def main() -> None:
    """Run the command line, which imports nothing from the current folder."""
    forget_current_folder()
    from summtune.commands.main import main as command_line

    command_line()


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the current folder, added by `python -m`
    main()
