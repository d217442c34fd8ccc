"""The console shows text of unknown origin as text."""

import io

import pytest
from rich.table import Table

from summtune.base.console import SafeConsole, labelled
from summtune.base.visible import visible


def printed(*renderables, width=60, **options):
    console = SafeConsole(file=io.StringIO(), width=width, **options)
    for each in renderables:
        console.print(each)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "text", ["[red]x[/red]", "[/]", "[link=https://example.org]x[/link]", ":smile:", "[bold", "\\[x]"]
)
def test_what_looks_like_markup_is_text(text):
    assert printed(text, labelled("name", text)) == f"{text}\nname  {text}\n"


@pytest.mark.parametrize("text", ["\x1b[2Jx", "\x1b]0;x\x07", "\x9b2J", "\u202ex", "x\x7f"])
def test_what_would_drive_the_terminal_is_shown(text):
    table = Table("a column", title=text)
    table.add_row(text)
    for shown in (printed(text), printed(labelled(text, text)), printed(table)):
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e", "\x7f"}
    assert visible(text.replace("\x07", "")) in printed(text)


def test_styles_reach_a_terminal():
    assert printed(labelled("name", "\x1b[2J"), force_terminal=True) == "\x1b[1mname\x1b[0m  ␛[2J\n"


def test_a_label_is_of_one_line():
    assert printed(labelled("warning", "a\nwarning  b")) == "warning  a␊warning  b\n"


def test_lines_are_longer_where_there_is_no_terminal():
    assert SafeConsole(file=io.StringIO()).width == 110
