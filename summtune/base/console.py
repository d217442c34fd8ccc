"""A rich console that is safe for untrusted text: such text can neither control the terminal nor contain markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from summtune.base.visible import message_line, visible

_PLAIN_WIDTH: Final = 110


class SafeConsole(Console):
    """A rich console that makes hidden characters visible in everything it renders, and does not interpret markup.

    Rich itself passes on escape sequences, and interprets styles, links and emoji in any text. Here, styles are given
    as `Text`. Without a terminal (a log, a pipe), lines may be longer than the usual eighty columns.

    Args:
        options: passed to rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        if "width" not in options and not self.is_terminal:
            self.width = _PLAIN_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable; their text is safe, and the only control sequences are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def labelled(label: str, text: str, style: str = "bold") -> Text:
    """Return one line: a styled label, two spaces, and a text whose line ends are shown as signs."""
    return Text.assemble((label, style), "  ", message_line(text))
