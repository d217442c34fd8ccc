"""The console shows untrusted text as plain text."""

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
def test_text_that_looks_like_markup_is_shown_unchanged(text):
    assert printed(text, labelled("name", text)) == f"{text}\nname  {text}\n"


@pytest.mark.parametrize("text", ["\x1b[2Jx", "\x1b]0;x\x07", "\x9b2J", "\u202ex", "x\x7f"])
def test_control_characters_are_shown_as_signs(text):
    table = Table("a column", title=text)
    table.add_row(text)
    for shown in (printed(text), printed(labelled(text, text)), printed(table)):
        assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e", "\x7f"}
    assert visible(text.replace("\x07", "")) in printed(text)


def test_styles_are_rendered_on_a_terminal():
    assert printed(labelled("name", "\x1b[2J"), force_terminal=True) == "\x1b[1mname\x1b[0m  ␛[2J\n"


def test_a_labelled_text_stays_on_one_line():
    assert printed(labelled("warning", "a\nwarning  b")) == "warning  a␊warning  b\n"


def test_without_a_terminal_lines_are_longer():
    assert SafeConsole(file=io.StringIO()).width == 110
