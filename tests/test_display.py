"""What a person sees of a run, on a terminal and in a log."""

import io

import pytest
from rich.console import Console

from summtune.display import TerminalDisplay


@pytest.fixture
def plain():
    return TerminalDisplay(Console(file=io.StringIO(), width=40))


def text(display):
    return display.console.file.getvalue()


def event(kind, **fields):
    return {"event": kind, "stage": "train", "rank": 0, **fields}


def test_stages_messages_and_warnings_are_lines_that_are_not_wrapped(plain):
    plain.stage("data", "reading and checking " + "x" * 60)
    plain.listener(event("message", text="trains [3,538,944] of 251,116,800"))
    plain.listener(event("warning", text="4 dialogues were cut"))
    assert text(plain).splitlines() == [
        "     data  reading and checking " + "x" * 60,
        "    train  trains [3,538,944] of 251,116,800",
        "  warning  4 dialogues were cut",
    ]


def test_a_warning_of_several_systems_is_said_once(plain):
    plain.warn("the same")
    plain.listener(event("warning", text="the same"))
    assert text(plain).count("the same") == 1


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(plain, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("summtune.display.time.monotonic", lambda: clock[0])
    for done in range(1, 31):
        clock[0] += 1
        plain.listener(event("progress", done=done, total=30, text=f"loss {done}"))
    lines = text(plain).splitlines()
    assert lines[0] == "    train  1/30 loss 1"
    assert lines[-1] == "    train  30/30 loss 30"
    assert len(lines) == 4


def test_a_terminal_gets_a_bar_that_ends_with_its_stage():
    display = TerminalDisplay(Console(file=io.StringIO(), width=100, force_terminal=True))
    with display:
        display.listener(event("progress", done=1, total=4, text="loss 2.1"))
        assert display.progress is not None
        display.listener(event("progress", done=4, total=4, text="loss 1.9"))
        display.listener(event("finished"))
        assert display.progress is None
        display.listener(event("progress", done=1, total=2, text=""))
    assert display.progress is None
    assert "4/4" in text(display)
    assert "loss 1.9" in text(display)
