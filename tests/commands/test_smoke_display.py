"""What a smoke run shows of its rounds, and how long its jobs were in the queue."""

import pytest
from faked_stages import RecordingDisplay

from summtune.commands import smoke_display
from summtune.commands.smoke_display import SmokeDisplay


class Recorder(RecordingDisplay):
    def __init__(self):
        super().__init__()
        self.events = []

    def listener(self, event):
        self.events.append(event["event"])


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a test moves it."""
    now = [0.0]
    monkeypatch.setattr(smoke_display.time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def event(name, stage="train"):
    return {"event": name, "stage": stage, "rank": 0}


def test_what_an_earlier_round_has_shown_is_not_repeated():
    shown = Recorder()
    display = SmokeDisplay(shown, in_jobs=False)
    for _ in range(2):
        display.stage("zero", "system 1 of 2, /runs/zero")
        display.stage("predict", "already complete")
        display.stage("train", "starting 1 process")
    assert shown.stages == [("zero", "system 1 of 2, /runs/zero"), *[("train", "starting 1 process")] * 2]


def test_warnings_about_the_short_data_are_not_shown():
    shown = Recorder()
    display = SmokeDisplay(shown, in_jobs=False)
    display.stage("data", "reading and checking")
    display.warn("2 of 8 test dialogues are also in the training data")
    display.stage("train", "starting 1 process")
    display.warn("a rank is slow")
    assert shown.warnings == ["a rank is slow"]


def test_the_time_in_the_queue_ends_when_the_processes_start(clock):
    shown = Recorder()
    display = SmokeDisplay(shown, in_jobs=True)
    display.stage("slurm", "job 12")
    clock(50)
    display.listener(event("message", "slurm"))  # pending
    clock(10)
    display.listener(event("started"))
    clock(5)
    display.listener(event("progress"))
    display.listener(event("message"))
    clock(120)  # requeued
    display.listener(event("message", "slurm"))
    clock(1)
    display.listener(event("started"))
    clock(3)
    display.listener(event("finished"))
    assert display.waited == 60 + 121
    assert shown.events[:2] == ["message", "started"]


def test_processes_of_this_machine_do_not_wait(clock):
    display = SmokeDisplay(Recorder(), in_jobs=False)
    display.stage("train", "starting 1 process")
    clock(9)
    display.listener(event("started"))
    assert display.waited == 0
