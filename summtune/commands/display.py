"""Shows the progress of a run: stages, progress bars and warnings; plain lines if the output is not a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.cells import cell_len
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from summtune.base.console import SafeConsole, labelled
from summtune.base.visible import message_line

_PLAIN_SECONDS = 10.0
_NAME_CELLS = 9
_BAR_CELLS = 32
_TEXT_CELLS = 66
"""Width of the text next to a bar; a narrow terminal shortens the bar, then omits it, and the text wraps."""
_FEWEST_BAR_CELLS = 8


class TerminalDisplay:
    """Shows the user the progress of a run.

    A terminal shows a bar all the time. It counts once a stage reports its progress; before that (while processes start
    or a model is loaded) it only moves, with the elapsed time. In a comparison, a second bar above it counts the
    complete systems. Any other output gets a line for each stage, and then one every ten seconds.

    Args:
        console: to print to.
    """

    def __init__(self, console: SafeConsole) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.current = ""
        self.systems_done: tuple[int, int] | None = None
        self.began = 0.0
        self.last_line = 0.0
        self.warned: set[str] = set()

    def __enter__(self) -> TerminalDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None:
        """Report that a stage begins, or is already complete.

        Args:
            name: of the stage.
            text: what it does.
            shows_itself: whether the stage itself writes to the terminal: no bar is shown then, as the two would
                overwrite each other.
        """
        self._close_bar()
        self._line(name, text)
        if not shows_itself:
            self.wait(name)

    def wait(self, name: str, text: str = "") -> None:
        """Show that work of unknown duration is in progress; prints nothing if the output is not a terminal."""
        if self.progress is not None and self.task is not None and self.current == name:
            self.progress.update(self.task, text=text)
            return
        self._close_bar()
        self._open_bar(name, None, text)

    def systems(self, done: int, total: int) -> None:
        """Set how many systems of a comparison are complete; shown only on a terminal."""
        if self.systems_done is None:
            self.began = time.monotonic()
        self.systems_done = (done, total)

    def warn(self, text: str) -> None:
        """Print a warning; one that several systems repeat is printed once."""
        if text not in self.warned:
            self.warned.add(text)
            self.console.print(labelled("  warning", text, "yellow"), soft_wrap=True)

    def listener(self, event: dict[str, Any]) -> None:
        """Show an event of a worker process."""
        match event["event"]:
            case "started":
                self.wait(event["stage"], "loading")
            case "progress":
                self._advance(event["stage"], event["done"], event["total"], event["text"])
            case "message":
                self._line(event["stage"], event["text"])
            case "warning":
                self.warn(event["text"])
            case "finished":
                self._close_bar()

    def _line(self, name: str, text: str) -> None:
        self.console.print(labelled(_right(message_line(name)), text), soft_wrap=True)

    def _advance(self, stage: str, done: int, total: int, text: str) -> None:
        if not self.console.is_terminal:
            self._plain_line(stage, done, total, text)
            return
        if self.progress is None or self.current != stage:
            self._close_bar()
            self._open_bar(stage, total, text)
        assert self.progress is not None
        assert self.task is not None
        self.progress.live.transient = False  # a bar that has counted stays on the screen
        self.progress.update(self.task, completed=done, total=total, text=text)

    def _plain_line(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done >= total or now - self.last_line >= _PLAIN_SECONDS:
            self.last_line = now
            self.console.print(f"{_right(stage)}  {done}/{total} {message_line(text)}".rstrip(), soft_wrap=True)

    def _open_bar(self, name: str, total: int | None, text: str) -> None:
        if not self.console.is_terminal:
            return
        self.current = name
        room = min(_BAR_CELLS, self.console.width - _TEXT_CELLS)
        self.progress = Progress(
            TextColumn("{task.description:>9} ", style="bold", markup=False),
            *([BarColumn(bar_width=room)] if room >= _FEWEST_BAR_CELLS else []),
            _Count(),
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(overflow="fold")),
            _Clock(elapsed_when_finished=True),
            console=self.console,
            transient=True,
            redirect_stdout=False,
            get_time=time.monotonic,
        )
        if self.systems_done is not None:
            done, among = self.systems_done
            self.progress.add_task("systems", total=among, completed=done, text="", countdown=False)
            self.progress.tasks[0].start_time = self.began
        self.task = self.progress.add_task(name, total=total, text=text, countdown=True)
        self.progress.start()

    def _close_bar(self) -> None:
        if self.progress is not None:
            for task in self.progress.tasks:
                if task.id != self.task:
                    self.progress.remove_task(task.id)
            self.progress.stop()
        self.progress = None
        self.task = None


class WarningsDisplay:
    """Shows warnings only.

    Args:
        console: to print to.
    """

    def __init__(self, console: SafeConsole) -> None:
        self._shown = TerminalDisplay(console)

    def __enter__(self) -> WarningsDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stage(self, name: str, text: str, *, shows_itself: bool = False) -> None:
        """Show nothing."""

    def wait(self, name: str, text: str = "") -> None:
        """Show nothing."""

    def systems(self, done: int, total: int) -> None:
        """Show nothing."""

    def warn(self, text: str) -> None:
        """Print a warning, once."""
        self._shown.warn(text)

    def listener(self, event: dict[str, Any]) -> None:
        """Show an event of a worker process if it is a warning."""
        if event["event"] == "warning":
            self.warn(event["text"])


def _right(name: str) -> str:
    """Return the name right-aligned in its column; a wide character occupies two cells."""
    return " " * (_NAME_CELLS - cell_len(name)) + name


class _Count(MofNCompleteColumn):
    """The number of completed items of the total; empty if the total is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class _Clock(TimeRemainingColumn):
    """The remaining time, or the elapsed time if the remaining one is not known."""

    def __init__(self, elapsed_when_finished: bool) -> None:
        super().__init__(elapsed_when_finished=elapsed_when_finished)
        self.elapsed = TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        known = task.total is not None and task.fields["countdown"]
        return super().render(task) if known else self.elapsed.render(task)
