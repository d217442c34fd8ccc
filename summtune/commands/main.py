"""Runs the command line: handles signals, prints each error as one message, and sets the exit code."""

from __future__ import annotations

import errno
import io
import signal
import sys
import traceback
from typing import Any, cast

import typer

from summtune.base.errors import InputError, RecipeError, StageError, StopAsked, SummtuneError, os_error_text
from summtune.base.printing import say, say_lines, use_any_encoding
from summtune.base.visible import is_utf8
from summtune.commands.cli import app

_WrongCall = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])
"""The base class of usage errors: click's own, or the copy of it in newer versions of typer, which is private."""
_PATH_ERRORS = frozenset(
    (
        errno.EACCES, errno.EBUSY, errno.EEXIST, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
        errno.ENODEV, errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.EPERM, errno.EROFS,
    )
)  # fmt: skip
"""Errors of a path that the user passed; a stage that encounters one of these raises a StageError instead."""


def main() -> None:
    """Run the command line and exit with code 0, 1, 2, 75, 130 (Ctrl-C) or 143 (SIGTERM)."""
    use_any_encoding()
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGINT, _interrupt)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _ask_to_stop)
    try:
        arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
        for argument in arguments:
            if not is_utf8(argument):
                raise InputError(f"an argument is not valid UTF-8 (got {argument}); rename the file")
        sys.exit(app(prog_name="summtune", args=arguments, standalone_mode=False))
    except Interrupted:
        say("interrupted; the same command resumes")
        sys.exit(130)
    except StopAsked as asked:
        say("stopped; the same command resumes")
        sys.exit(128 + asked.number)
    except _WrongCall as error:
        _say_usage(error)
        sys.exit(error.exit_code)
    except Exception as error:
        known = isinstance(error, (SummtuneError, OSError))
        if debug or not known:
            say(traceback.format_exc().rstrip())
        if known:
            _say_error(error)
        sys.exit(_exit_code(error))


class Interrupted(BaseException):
    """Ctrl-C; not a KeyboardInterrupt, for which the command-line library would print its own message."""


def _interrupt(*_: Any) -> None:
    raise Interrupted


def _ask_to_stop(number: int, _: Any) -> None:
    raise StopAsked(number)


def _say_usage(error: typer.BadParameter) -> None:
    """Print the usage of the command, and what is wrong with the call."""
    shown = io.StringIO()
    error.show(shown)
    message = error.format_message()
    usage, found, _ = shown.getvalue().partition(f"Error: {message}")  # a call without arguments only shows the help
    say_lines(usage.rstrip().splitlines())
    if found:
        say(f"error: {message}")


def _say_error(error: Exception) -> None:
    """Print one message; for a recipe, one line per problem."""
    if isinstance(error, RecipeError):
        first, *others = map(str, error.problems)
        say_lines([f"error: {first}", *others])
        return
    say(f"error: {os_error_text(error) if isinstance(error, OSError) else error}")
    if isinstance(error, StageError) and error.log:
        say(f"log: {error.log}")


def _exit_code(error: Exception) -> int:
    if isinstance(error, OSError):
        return InputError.exit_code if error.errno in _PATH_ERRORS else 1
    return error.exit_code if isinstance(error, SummtuneError) else 1
