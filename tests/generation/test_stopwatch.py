import pytest

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json
from summtune.generation.stopwatch import TIME_FILE, Stopwatch


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_killed_attempt_counts_until_its_last_output(tmp_path):
    clock = Clock()
    killed = Stopwatch(tmp_path, 4, clock)
    clock.now += 7  # loading
    killed.begin_generation()
    clock.now += 10
    killed.keep()
    clock.now += 500  # killed, and resumed on two devices
    resumed = Stopwatch(tmp_path, 2, clock)
    clock.now += 8
    assert resumed.spent().to_json() == {"seconds": 17.0 + 8.0, "device_seconds": 10.0 * 4}
    resumed.begin_generation()
    clock.now += 5
    assert resumed.spent().to_json() == {"seconds": 17.0 + 13.0, "device_seconds": 10.0 * 4 + 5.0 * 2}


def test_the_time_is_written_at_most_once_a_second(tmp_path):
    clock = Clock()
    stopwatch = Stopwatch(tmp_path, 1, clock)
    stopwatch.begin_generation()
    clock.now += 0.5
    stopwatch.keep()
    assert not (tmp_path / TIME_FILE).exists()
    for _ in range(4):
        clock.now += 0.5
        stopwatch.keep()
    assert read_json(tmp_path / TIME_FILE) == {"seconds": 2.0, "device_seconds": 2.0}  # not 2.5


def test_a_server_of_somebody_else_takes_no_device_seconds(tmp_path):
    clock = Clock()
    stopwatch = Stopwatch(tmp_path / "missing", 0, clock)
    stopwatch.begin_generation()
    clock.now += 3
    assert stopwatch.spent().to_json() == {"seconds": 3.0, "device_seconds": 0.0}


def test_a_damaged_time_is_named(tmp_path):
    (tmp_path / TIME_FILE).write_text('{"seconds": "long"}')
    with pytest.raises(RunDirectoryError, match=r"time\.json: seconds: .*got 'long'"):
        Stopwatch(tmp_path, 1)
