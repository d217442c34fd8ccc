"""What a user sees of a run, on a terminal and in a log."""

import io

import pytest

from summtune.base.console import SafeConsole
from summtune.commands.display import TerminalDisplay, WarningsDisplay


@pytest.fixture
def plain():
    return TerminalDisplay(SafeConsole(file=io.StringIO(), width=40))


def text(display):
    return display.console.file.getvalue()


def event(kind, **fields):
    return {"event": kind, "stage": "train", "rank": 0, **fields}


def test_stages_messages_and_warnings_are_unwrapped_lines(plain):
    plain.stage("data", "reading and checking " + "x" * 60)
    plain.listener(event("message", text="trains [3,538,944] of 251,116,800"))
    plain.listener(event("warning", text="4 dialogues were cut"))
    assert text(plain).splitlines() == [
        "     data  reading and checking " + "x" * 60,
        "    train  trains [3,538,944] of 251,116,800",
        "  warning  4 dialogues were cut",
    ]


def test_a_warning_of_several_systems_is_printed_once(plain):
    plain.warn("the same")
    plain.listener(event("warning", text="the same"))
    assert text(plain).count("the same") == 1


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(plain, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("summtune.commands.display.time.monotonic", lambda: clock[0])
    for done in range(1, 31):
        clock[0] += 1
        plain.listener(event("progress", done=done, total=30, text=f"loss {done}"))
    lines = text(plain).splitlines()
    assert lines[0] == "    train  1/30 loss 1"
    assert lines[-1] == "    train  30/30 loss 30"
    assert len(lines) == 4


@pytest.fixture
def terminal():
    return TerminalDisplay(SafeConsole(file=io.StringIO(), width=100, height=20, force_terminal=True))


def bars(display):
    """The bars on the screen: name, completed and total of each."""
    tasks = display.progress.tasks if display.progress is not None else []
    return [(task.description, task.completed, task.total) for task in tasks]


def test_a_terminal_shows_a_bar_until_its_stage_ends(terminal):
    with terminal:
        terminal.listener(event("progress", done=1, total=4, text="loss 2.1"))
        terminal.listener(event("progress", done=4, total=4, text="loss [1.9]"))
        assert bars(terminal) == [("train", 4, 4)]
        terminal.listener(event("finished"))
        assert bars(terminal) == []
        terminal.listener(event("progress", done=1, total=2, text=""))
    assert bars(terminal) == []
    assert "4/4" in text(terminal)
    assert "loss [1.9]" in text(terminal)


def test_a_terminal_always_shows_a_bar_while_a_stage_runs(terminal):
    with terminal:
        terminal.wait("recipe", "reading")
        assert bars(terminal) == [("recipe", 0, None)]
        terminal.stage("train", "starting 1 process")
        assert bars(terminal) == [("train", 0, None)]
        begun = terminal.progress.tasks[0].start_time
        terminal.listener(event("started"))
        terminal.listener(event("message", text="training 3 of 5 parameters"))
        assert bars(terminal) == [("train", 0, None)]
        terminal.listener(event("progress", done=1, total=4, text="loss 2.1"))
        assert bars(terminal) == [("train", 1, 4)]
        assert terminal.progress.tasks[0].start_time == begun  # its time is that of the whole stage
        terminal.listener(event("finished"))
        terminal.listener({"event": "started", "stage": "predict"})
        assert bars(terminal) == [("predict", 0, None)]
        terminal.stage("evaluate", "running")
        assert bars(terminal) == [("evaluate", 0, None)]
    assert bars(terminal) == []


def test_a_comparison_shows_a_bar_of_its_systems_above(terminal):
    with terminal:
        terminal.systems(0, 5)
        terminal.stage("One-shot", "system 1 of 5")
        terminal.systems(1, 5)
        terminal.stage("train", "starting 1 process")
        terminal.listener(event("progress", done=1, total=4, text=""))
        assert bars(terminal) == [("systems", 1, 5), ("train", 1, 4)]
        terminal.systems(2, 5)
        terminal.stage("predict", "starting 1 process")
        assert bars(terminal) == [("systems", 2, 5), ("predict", 0, None)]


def test_a_stage_that_writes_to_the_terminal_itself_gets_no_bar(terminal):
    with terminal:
        terminal.systems(0, 5)
        terminal.stage("data", "reading and checking", shows_itself=True)
        assert terminal.progress is None
        terminal.stage("predict", "starting 1 process")
        assert bars(terminal) == [("systems", 0, 5), ("predict", 0, None)]


def test_a_bar_without_a_count_is_removed_at_its_end(terminal):
    with terminal:
        terminal.wait("recipe", "reading")
    before, after = text(terminal).split("reading")[0], text(terminal).split("reading")[-1]
    assert "recipe" in before
    assert "\x1b[2K" in after  # the line is erased
    assert "recipe" not in after


def test_a_log_gets_no_line_for_waiting(plain):
    with plain:
        plain.wait("recipe", "reading")
        plain.systems(0, 5)
        plain.listener(event("started"))
    assert text(plain) == ""


@pytest.mark.parametrize("width", [40, 60, 80])
def test_count_and_text_are_complete_on_a_narrow_terminal(width):
    display = TerminalDisplay(SafeConsole(file=io.StringIO(), width=width, height=20, force_terminal=True))
    display.listener(event("progress", done=120, total=1000, text="loss 2.3456, 12.3 dialogues/s"))
    page = SafeConsole(file=io.StringIO(), width=width)
    page.print(display.progress.get_renderable())
    display._close_bar()
    shown = page.file.getvalue()
    assert "120/1000" in shown
    assert "…" not in shown
    assert "dialogues/s" in shown


def test_names_with_wide_characters_are_right_aligned(plain):
    plain.stage("客服", "system 1 of 2")
    plain.stage("data", "reading")
    assert text(plain).splitlines() == ["     客服  system 1 of 2", "     data  reading"]


def test_control_characters_of_workers_and_names_are_escaped(terminal):
    hostile = "\x1b]0;x\x07[red]:smile:\x9b2J\n"
    with terminal:
        terminal.stage(hostile, hostile)
        terminal.warn(hostile)
        terminal.systems(1, 2)
        for kind, fields in (
            ("message", {"text": hostile}),
            ("warning", {"text": hostile + "!"}),
            ("progress", {"done": 1, "total": 2, "text": hostile}),
        ):
            terminal.listener({"event": kind, "stage": hostile, "rank": 0, **fields})
    shown = text(terminal)
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert shown.count("␛]0;x␇[red]:smile:⟨U+009B⟩2J␊") >= 4


def test_the_display_of_warnings_prints_nothing_else(capsys):
    with WarningsDisplay(SafeConsole(stderr=True)) as display:
        display.wait("recipe", "reading")
        display.stage("predict", "running")
        display.systems(1, 2)
        display.listener({"event": "progress", "stage": "predict", "done": 1, "total": 2, "text": ""})
        display.listener({"event": "warning", "stage": "predict", "text": "look"})
        display.warn("look")
        display.warn("and here")
    assert capsys.readouterr().err == "  warning  look\n  warning  and here\n"
