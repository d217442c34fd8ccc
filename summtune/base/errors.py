"""The exceptions that summtune raises for its users, as one tree.

    SummtuneError
    ├── InputError (ValueError)           the recipe, the data or the call is wrong     exit code 2
    │   ├── RecipeError                   one or more problems in recipe files
    │   ├── DataError                     a data set that cannot be used, with file and row
    │   ├── ModelError                    a model that cannot be fetched or loaded
    │   ├── RunDirectoryError             a directory that contains another run, or no run
    │   └── ComparisonError               systems whose scores are not comparable
    ├── StageError (RuntimeError)         a stage started and failed                     exit code 1
    └── StageStopped                      a stage was asked to stop, and saved           exit code 75

A message has the form ``problem (got X); what to do``. The command line prints it without a traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from summtune.base.visible import message_line


class SummtuneError(Exception):
    """Base of all errors that are reported to the user."""

    exit_code = 1


class InputError(SummtuneError, ValueError):
    """The user's input (recipe, data, arguments) cannot be used; nothing was started."""

    exit_code = 2


class DataError(InputError):
    """A data set that cannot be read, or contains a row that cannot be used."""


class ModelError(InputError):
    """A model that cannot be fetched or loaded, or of a family that summtune does not support."""


class RunDirectoryError(InputError):
    """A run directory that contains another run, or something that is not a run."""


class ComparisonError(InputError):
    """Systems that were scored under different protocols or on different dialogues."""


@dataclass(frozen=True)
class Problem:
    """One problem in a recipe file.

    Args:
        message: what is wrong and what to do about it, one sentence.
        file: the file as the user named it, or ``--set`` for a command line override.
        line: 1-based line, 0 if there is none.
        column: 1-based column, 0 if there is none.
    """

    message: str
    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return message_line(f"{place}: {self.message}")


class RecipeError(InputError):
    """All problems of the recipes that were read, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "a RecipeError needs at least one problem"
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StageError(SummtuneError, RuntimeError):
    """A stage started and failed.

    Args:
        message: why.
        log: the path of its log, if any.
        exit_code: 2 if the stage found that the recipe or the data is wrong.
    """

    def __init__(self, message: str, log: str | None = None, exit_code: int = 1) -> None:
        self.log = log
        self.exit_code = exit_code
        super().__init__(message)


class StageStopped(SummtuneError):  # noqa: N818, nothing went wrong
    """The processes of a stage were asked to stop and have saved their state: the same command resumes from there."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class StopAsked(BaseException):
    """This command was asked to stop (SIGTERM, SIGUSR1): the processes that it started save their state first.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def os_error_text(error: OSError) -> str:
    """Return a message that says what the operating system refused, and for which file."""
    where = f" (got {error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space is left on the disk{where}; free some, and run the same command again: it resumes"
    return f"{error.strerror or error}{where}"
