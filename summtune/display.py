"""Shows a run on the terminal: stages, progress bars, warnings; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_PLAIN_SECONDS = 10.0


class TerminalDisplay:
    """Tells the user what goes on, on stderr.

    Args:
        console: where to; a terminal gets progress bars, anything else a line every ten seconds.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.current = ""
        self.last_line = 0.0
        self.warned: set[str] = set()

    def __enter__(self) -> TerminalDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def stage(self, name: str, text: str) -> None:
        """Say that a stage begins, or is already complete."""
        self._close_bar()
        self.console.print(f"[bold]{escape(name):>9}[/bold]  {escape(text)}", highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Say what a person should act on; once, however many systems say it."""
        if text not in self.warned:
            self.warned.add(text)
            self.console.print(f"[yellow]  warning[/yellow]  {escape(text)}", highlight=False, soft_wrap=True)

    def listener(self, event: dict[str, Any]) -> None:
        """Take an event of a worker process."""
        match event["event"]:
            case "progress":
                self._advance(event["stage"], event["done"], event["total"], event["text"])
            case "message":
                self.console.print(
                    f"[bold]{escape(event['stage']):>9}[/bold]  {escape(event['text'])}",
                    highlight=False,
                    soft_wrap=True,
                )
            case "warning":
                self.warn(event["text"])
            case "finished":
                self._close_bar()

    def _advance(self, stage: str, done: int, total: int, text: str) -> None:
        if not self.console.is_terminal:
            self._plain_line(stage, done, total, text)
            return
        if self.progress is None or self.current != stage:
            self._close_bar()
            self.current = stage
            self.progress = Progress(
                TextColumn("[bold]{task.description:>9}[/bold] "),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self.console,
            )
            self.progress.start()
            self.task = self.progress.add_task(stage, total=total, text=text)
        assert self.task is not None
        self.progress.update(self.task, completed=done, total=total, text=text)

    def _plain_line(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done >= total or now - self.last_line >= _PLAIN_SECONDS:
            self.last_line = now
            self.console.print(f"{stage:>9}  {done}/{total} {escape(text)}".rstrip(), highlight=False, soft_wrap=True)

    def _close_bar(self) -> None:
        if self.progress is not None:
            self.progress.stop()
        self.progress = None
        self.task = None
