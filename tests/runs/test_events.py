"""Events of a worker reach the command that started it, line by line."""

import json

import pytest

from summtune.runs.events import EventReader, Events, events_file


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path


def test_events_arrive_once_and_in_order(run_dir):
    reader = EventReader(run_dir)
    assert list(reader.new()) == []
    events = Events(run_dir, "train", 0)
    events.started()
    events.progress(3, 10, "loss 2.1")
    events.say("3,538,944 of 251,116,800 weights are trained (1.41 %)")
    assert [event["event"] for event in reader.new()] == ["started", "progress", "message"]
    events.warn("4 dialogues were cut")
    events.finished()
    assert list(reader.new()) == [
        {"event": "warning", "stage": "train", "rank": 0, "text": "4 dialogues were cut"},
        {"event": "finished", "stage": "train", "rank": 0},
    ]
    assert list(reader.new()) == []


def test_durations_are_events_that_hold_their_seconds(run_dir):
    Events(run_dir, "train", 0).took("checkpoint", 1.23456)
    (event,) = EventReader(run_dir, 0).new()
    assert event == {"event": "took", "stage": "train", "rank": 0, "what": "checkpoint", "seconds": 1.235}


def test_only_the_first_rank_reports_except_for_errors(run_dir):
    reader = EventReader(run_dir)
    events = Events(run_dir, "train", 1)
    events.progress(1, 2)
    events.say("x")
    events.warn("x")
    events.finished()
    events.error("out of memory", expected=False)
    assert list(reader.new()) == [
        {"event": "error", "stage": "train", "rank": 1, "text": "out of memory", "expected": False, "exit_code": 1}
    ]


def test_events_from_before_the_reader_are_skipped(run_dir):
    Events(run_dir, "train", 0).say("yesterday")
    reader = EventReader(run_dir)
    Events(run_dir, "train", 0).say("today – läuft")
    assert [event["text"] for event in reader.new()] == ["today – läuft"]


def test_an_incomplete_line_is_read_once_it_is_complete(run_dir):
    reader = EventReader(run_dir)
    line = json.dumps({"event": "message", "stage": "train", "rank": 0, "text": "whole"}) + "\n"
    with events_file(run_dir).open("a") as file:
        file.write(line[:20])
        file.flush()
        assert list(reader.new()) == []
        file.write(line[20:])
    assert [event["text"] for event in reader.new()] == ["whole"]


def test_events_that_cannot_be_written_are_dropped_without_error(tmp_path):
    Events(tmp_path, "train", 0).error("no space is left", expected=True)
    assert list(EventReader(tmp_path).new()) == []


def test_a_reader_can_start_at_an_offset(run_dir):
    Events(run_dir, "train", 0).say("of another job")
    start = events_file(run_dir).stat().st_size
    Events(run_dir, "train", 0).say("while nobody looked")
    assert [event["text"] for event in EventReader(run_dir, start).new()] == ["while nobody looked"]
    assert [event["text"] for event in EventReader(run_dir, 0).new()] == ["of another job", "while nobody looked"]
    assert list(EventReader(run_dir, 10_000).new()) == [], "the file has been replaced since"


def test_a_garbled_line_is_skipped(run_dir):
    reader = EventReader(run_dir)
    with events_file(run_dir).open("a") as file:
        file.write('{"event": {"event": "error"}\n')
    Events(run_dir, "train", 0).say("fine")
    assert [event["text"] for event in reader.new()] == ["fine"]


def test_lines_that_are_not_events_are_skipped(run_dir):
    events_file(run_dir).write_bytes(b"[1]\n7\nnull\n" + b"[" * 100_000 + b'\n\xff\n{"event": "started"}\n')
    assert list(EventReader(run_dir, 0).new()) == [{"event": "started"}]
