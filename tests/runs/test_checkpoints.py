"""Checkpoints are verified by their manifest."""

import json

import pytest

from summtune.base.errors import StageError
from summtune.runs import checkpoints as module
from summtune.runs.checkpoints import (
    MANIFEST,
    checkpoints,
    damage,
    latest_good,
    layout_of,
    rotate,
    write_manifest,
    written,
)

LAYOUT = {"processes": 2, "zero_stage": 2}


def write(folder, step, manifest=True):
    path = folder / f"checkpoint-{step}"
    (path / "global_step").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * 100)
    (path / "global_step" / "optimizer.pt").write_bytes(b"moments" * 100)
    if manifest:
        write_manifest(path, LAYOUT)
    return path


def test_the_latest_complete_checkpoint_is_taken(tmp_path):
    for step in (9, 10, 100):
        write(tmp_path, step)
    for name in ("best", "²", "٣", "1" * 200, ""):
        (tmp_path / f"checkpoint-{name}").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-10", "checkpoint-9"]
    good, damaged = latest_good(tmp_path)
    assert (good.name, damaged) == ("checkpoint-100", [])
    assert layout_of(good) == LAYOUT


def test_without_checkpoints_none_is_found(tmp_path):
    assert latest_good(tmp_path) == (None, [])
    assert latest_good(tmp_path / "nowhere") == (None, [])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: (path / "model.safetensors").unlink(), "model.safetensors is missing"),
        (
            lambda path: (path / "model.safetensors").write_bytes(b"weights"),
            "model.safetensors has 7 bytes instead of 700",
        ),
        (
            lambda path: (path / "global_step" / "optimizer.pt").write_bytes(b"Moments" * 100),
            "global_step/optimizer.pt was altered",
        ),
        (lambda path: (path / MANIFEST).unlink(), "it is incomplete: it has no manifest"),
        (lambda path: (path / MANIFEST).write_text('{"files": {"mod'), "its manifest cannot be read"),
        (lambda path: (path / MANIFEST).write_text("[]"), "its manifest cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_reported_and_skipped(tmp_path, harm, reason):
    older, newer = write(tmp_path, 10), write(tmp_path, 20)
    assert damage(newer) is None
    harm(newer)
    assert damage(newer) == reason
    good, passed_over = latest_good(tmp_path)
    assert good == older
    assert [(entry.path, entry.reason) for entry in passed_over] == [(newer, reason)]


def test_files_added_to_a_checkpoint_do_not_damage_it(tmp_path):
    path = write(tmp_path, 10)
    (path / "note.txt").write_text("x")
    assert damage(path) is None


def test_the_manifest_names_every_file_but_itself(tmp_path):
    path = write(tmp_path, 10)
    write_manifest(path, LAYOUT)
    manifest = json.loads((path / MANIFEST).read_text())
    assert set(manifest["files"]) == {"model.safetensors", "global_step/optimizer.pt"}
    assert manifest["step"] == 10


def left(folder):
    return [module.step_of(path) for path in checkpoints(folder)]


def test_rotation_keeps_the_latest_and_the_best(tmp_path):
    for step in (10, 20, 30, 40):
        write(tmp_path, step)
    rotate(tmp_path, 40, keep=2, best=10)
    assert left(tmp_path) == [40, 30, 10]
    rotate(tmp_path, 40, keep=1, best=None)
    assert left(tmp_path) == [40]


def test_rotation_never_deletes_the_last_good_one(tmp_path):
    write(tmp_path, 10)
    (write(tmp_path, 20) / "model.safetensors").write_bytes(b"weig")
    write(tmp_path, 30, manifest=False)
    rotate(tmp_path, 30, keep=1, best=None)
    good, _ = latest_good(tmp_path)
    assert module.step_of(good) == 10


def test_rotation_deletes_later_checkpoints_of_an_earlier_attempt(tmp_path):
    """Their sizes are right, so only the run that resumed from an earlier checkpoint knows that they are damaged."""
    write(tmp_path, 10)
    for step in (20, 30):
        (write(tmp_path, step) / "model.safetensors").write_bytes(b"Weights" * 100)
    good, damaged = latest_good(tmp_path)
    assert (module.step_of(good), len(damaged)) == (10, 2)
    write(tmp_path, 15)
    rotate(tmp_path, 15, keep=1, best=None)
    assert left(tmp_path) == [15]
    write(tmp_path, 20)
    rotate(tmp_path, 20, keep=2, best=None)
    assert left(tmp_path) == [20, 15]


def save_that_fails(folder, error, first=True):
    with written(folder, 20, first) as path:
        path.mkdir()
        (path / "half").write_text("x")
        raise error


def test_a_checkpoint_that_cannot_be_written_is_removed_and_the_previous_one_stays(tmp_path):
    before = write(tmp_path, 10)
    message = r"\(got RuntimeError: \[enforce fail\] unexpected pos 64\); earlier checkpoints are intact: free space"
    with pytest.raises(StageError, match=message):
        save_that_fails(tmp_path, RuntimeError("[enforce fail] unexpected pos 64\nmore"))
    assert latest_good(tmp_path) == (before, [])
    assert left(tmp_path) == [10]


def test_only_the_first_rank_removes_a_failed_checkpoint(tmp_path):
    with pytest.raises(StageError, match="checkpoint-20 could not be written"):
        save_that_fails(tmp_path, OSError(28, "No space left on device"), first=False)
    assert left(tmp_path) == [20]


def test_a_summtune_error_while_writing_keeps_its_message(tmp_path):
    with pytest.raises(StageError, match=r"^a weight is not a number$"):
        save_that_fails(tmp_path, StageError("a weight is not a number"))


def test_an_incomplete_checkpoint_is_removed_before_it_is_written_again(tmp_path):
    cut = write(tmp_path, 20, manifest=False)
    (cut / "old").write_text("x")
    with written(tmp_path, 20, first=True) as path:
        assert not path.exists()
