"""The run directory: its owner, its lock, its complete stages."""

import json
import subprocess
import sys

import pytest

from summtune.base.errors import DataError, RunDirectoryError
from summtune.base.files import read_json, write_json, write_jsonl
from summtune.runs import run_directory
from summtune.runs.records import Prediction
from summtune.runs.run_directory import read_predictions

MINE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    write_json(folder / "plan.json", {"identity": MINE, "name": "lora"})
    return folder


def test_a_missing_or_empty_directory_is_free(tmp_path):
    assert run_directory.check_free(tmp_path / "nowhere", MINE) is False
    assert run_directory.check_free(tmp_path, MINE) is False
    (tmp_path / ".lock").touch()
    (tmp_path / ".preparing").mkdir()
    assert run_directory.check_free(tmp_path, MINE) is False, "leftovers of a killed command are not a run"


def test_a_directory_with_the_same_run_is_recognized(run_dir):
    assert run_directory.check_free(run_dir, MINE) is True


def test_a_directory_with_another_run_is_refused_and_the_run_named(run_dir):
    match = r"contains another run \(got .*run: lora-aaaaaaaa, this one is bbbbbbbb\); choose another --output-dir"
    with pytest.raises(RunDirectoryError, match=match):
        run_directory.check_free(run_dir, OTHER)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thesis.tex", "x"),
        ("plan.json", "not JSON"),
        ("plan.json", "[]"),
        ("plan.json", '{"name": "holidays"}'),
        ("plan.json", '{"identity": 5}'),
    ],
)
def test_a_directory_with_foreign_files_is_refused_and_unchanged(tmp_path, everything_in, name, content):
    (tmp_path / name).write_text(content)
    before = everything_in(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"something that is not a summtune run \(got .*\); choose another"):
        run_directory.check_free(tmp_path, MINE)
    assert everything_in(tmp_path) == before


def test_a_file_instead_of_a_run_directory_is_refused(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunDirectoryError, match=r"a run directory is a folder \(got the file .*run\)"):
        run_directory.check_free(tmp_path / "run", MINE)


def test_only_one_command_can_lock_a_run_directory(run_dir):
    program = (
        "import sys; from pathlib import Path; from summtune.runs.run_directory import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, run_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        with (
            pytest.raises(RunDirectoryError, match=r"another summtune command is using this directory \(got .*run\)"),
            run_directory.locked(run_dir),
        ):
            pytest.fail("two commands in one directory")
        other.kill()
    with run_directory.locked(run_dir):
        assert (run_dir / "plan.json").exists()


def fail(run_dir, error, begin):
    with run_directory.leaving_nothing(run_dir):
        begin()
        raise error


def test_a_failure_before_the_plan_exists_leaves_nothing_behind(tmp_path):
    run_dir = tmp_path / "outputs" / "run"
    with pytest.raises(KeyboardInterrupt):
        fail(run_dir, KeyboardInterrupt(), lambda: (run_dir / "data").mkdir(parents=True))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_runs_with_a_plan_and_existing_parents(tmp_path):
    run_dir, other = tmp_path / "outputs" / "run", tmp_path / "outputs" / "other"
    with pytest.raises(ValueError, match="later"):
        fail(run_dir, ValueError("later"), lambda: write_json(run_dir / "plan.json", {}))
    assert (run_dir / "plan.json").exists()
    with pytest.raises(ValueError, match="at once"):
        fail(other, ValueError("at once"), other.mkdir)
    assert not other.exists()
    assert run_dir.exists()


def test_a_failure_keeps_an_empty_directory_of_the_user(tmp_path):
    with pytest.raises(ValueError, match="at once"):
        fail(tmp_path, ValueError("at once"), lambda: None)
    assert tmp_path.exists()


def test_a_command_that_finds_the_directory_locked_does_not_delete_it(tmp_path):
    run_dir = tmp_path / "run"
    with pytest.raises(RunDirectoryError, match="another"):
        fail(run_dir, RunDirectoryError("another summtune command is using this directory"), run_dir.mkdir)
    assert run_dir.exists()


def test_the_preparation_folder_starts_empty_and_is_deleted(tmp_path):
    (tmp_path / ".preparing" / "data").mkdir(parents=True)
    with run_directory.preparing(tmp_path) as folder:
        assert list(folder.iterdir()) == []
        (folder / "x").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_is_moved_last(tmp_path, monkeypatch):
    prepared, run_dir = tmp_path / "prepared", tmp_path / "run"
    for name in ("plan.json", "recipe.yaml", "data/test.jsonl", "zzz"):
        (prepared / name).parent.mkdir(parents=True, exist_ok=True)
        (prepared / name).write_text(name)
    (run_dir / "data").mkdir(parents=True)
    (run_dir / "data" / "old.jsonl").write_text("of a beginning that was killed")
    order = []
    move = run_directory.shutil.move
    monkeypatch.setattr(run_directory.shutil, "move", lambda a, b: (order.append(a.name), move(a, b)))
    run_directory.adopt(prepared, run_dir)
    assert order[-1] == "plan.json"
    assert set(order[:-1]) == {"data", "recipe.yaml", "zzz"}
    assert [path.name for path in (run_dir / "data").iterdir()] == ["test.jsonl"]
    assert list(prepared.iterdir()) == []


def test_clearing_keeps_only_the_lock(run_dir):
    (run_dir / "model").mkdir()
    (run_dir / "model" / "x").write_text("x")
    with run_directory.locked(run_dir):
        run_directory.clear(run_dir)
        assert {entry.name for entry in run_dir.iterdir()} <= {".lock"}


def complete_training(run_dir):
    (run_dir / "model").mkdir()
    (run_dir / "model" / "model.safetensors").write_bytes(b"x" * 100)
    (run_dir / "model" / "README.md").write_text("before the scores are known")
    (run_dir / "train_log.jsonl").write_text("{}\n")
    write_json(run_dir / "training.json", {"steps": 3})
    run_directory.mark_complete(run_dir, "train")


def test_a_stage_is_complete_if_it_is_marked_and_its_files_exist(run_dir):
    assert not run_directory.is_complete(run_dir, "train")
    complete_training(run_dir)
    assert run_directory.is_complete(run_dir, "train")
    assert not run_directory.is_complete(run_dir, "predict")
    assert set(read_json(run_dir / "stages" / "train.json")["outputs"]) == {
        "model/model.safetensors", "train_log.jsonl", "training.json",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model/model.safetensors", "train_log.jsonl", "training.json"])
@pytest.mark.parametrize("harm", ["missing", "short"])
def test_a_stage_with_a_missing_or_truncated_file_is_not_complete(run_dir, name, harm):
    complete_training(run_dir)
    path = run_dir / name
    content = path.read_bytes()
    path.unlink()
    if harm == "short":
        path.write_bytes(content[:-1])
    assert not run_directory.is_complete(run_dir, "train")


def test_a_stage_stays_complete_when_its_model_card_changes(run_dir):
    complete_training(run_dir)
    (run_dir / "model" / "README.md").write_text("with the scores, which are known now")
    assert run_directory.is_complete(run_dir, "train")


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"outputs": {}})])
def test_an_empty_or_damaged_mark_does_not_count(run_dir, content):
    complete_training(run_dir)
    (run_dir / "stages" / "train.json").write_text(content)
    assert not run_directory.is_complete(run_dir, "train")


def test_a_folder_is_deleted_if_it_holds_at_most_the_lock_of_an_ended_command(tmp_path):
    with run_directory.locked(tmp_path / "used" / "run"):
        pass
    for path in (tmp_path / "used" / "run", tmp_path / "missing", tmp_path / "used"):
        run_directory.remove_if_unused(path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    run_directory.remove_if_unused(tmp_path / "used")
    assert (tmp_path / "used" / "file").exists()


def test_forget_removes_the_marks_of_stages(run_dir):
    complete_training(run_dir)
    run_directory.forget(run_dir, ["train", "predict"])
    assert not run_directory.is_complete(run_dir, "train")


def test_a_wrong_line_in_predictions_is_reported_with_its_number(tmp_path):
    path, good = tmp_path / "predictions.jsonl", Prediction("a", "A: Hi.\u2028B: Hi.", "They greet.", ("Hi.",), 3, 4)
    write_jsonl(path, [good.to_json()])
    assert read_predictions(path) == [good]
    line = path.read_bytes()
    for second, message in (
        (line[:30], r"not JSON \(got .*\); write"),
        (b"{}\n", "a prediction lacks keys"),
        (b"\xff", "not JSON"),
    ):
        path.write_bytes(line + second)
        with pytest.raises(DataError, match=f"predictions.jsonl, line 2: {message}"):
            read_predictions(path)


@pytest.mark.parametrize("marker", [[], {}, {"outputs": [1]}, {"outputs": {"a": "1"}}, {"outputs": None}, 7])
def test_an_edited_mark_does_not_count(run_dir, marker):
    write_json(run_dir / "stages" / "evaluate.json", marker)
    assert not run_directory.is_complete(run_dir, "evaluate")
