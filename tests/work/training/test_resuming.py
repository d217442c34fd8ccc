import pytest

from summtune.base.files import read_jsonl, write_json
from summtune.plan.launch import Launch
from summtune.runs.checkpoints import write_manifest
from summtune.runs.events import Events, events_file
from summtune.work.training.checkpoint import STATE_FILE, TrainingState
from summtune.work.training.resuming import layout_of, resume_point


def launch(processes=1, zero_stage=0, distribution=None):
    distribution = distribution or ("deepspeed" if zero_stage else "data_parallel" if processes > 1 else "none")
    return Launch(
        distribution=distribution,
        processes=processes,
        device="cpu",
        config_file="accelerate.yaml",
        zero_stage=zero_stage,
    )


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path


def write(run_dir, step, written_on, best=None, precision="fp32", **state):
    path = run_dir / "checkpoints" / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights-00000.safetensors").write_bytes(b"weights")
    found = TrainingState(step=step, best_step=best, best_loss=None if best is None else 0.5, **state)
    write_json(path / STATE_FILE, found.to_json())
    write_manifest(path, layout_of(written_on, precision))
    return path


def resume(run_dir, now):
    """Return the checkpoint from which the training resumes, and the texts of the events."""
    found = start(run_dir, now)
    path = events_file(run_dir)
    return found.checkpoint if found else None, [row["text"] for row in read_jsonl(path)] if path.exists() else []


def start(run_dir, now=None):
    return resume_point(run_dir, layout_of(now or launch(), "fp32"), Events(run_dir, "train", 0))


def test_training_starts_from_scratch_without_checkpoints(run_dir):
    assert resume(run_dir, launch()) == (None, [])


@pytest.mark.parametrize("layout", [launch(), launch(2), launch(2, 2), launch(4, 3), launch(2, 0, "deepspeed")])
def test_training_resumes_on_the_same_layout(run_dir, layout):
    path = write(run_dir, 5, layout)
    assert resume(run_dir, layout) == (path, ["resuming from checkpoint-5"])


@pytest.mark.parametrize("before", [launch(2), launch(4), launch(2, 1), launch(2, 2), launch(4, 3)])
@pytest.mark.parametrize("now", [launch(1), launch(1, 2), launch(1, 3)])
def test_the_layout_may_change(run_dir, before, now):
    path = write(run_dir, 5, before)
    found, (text,) = resume(run_dir, now)
    assert found == path
    assert text.startswith(
        f"resuming from checkpoint-5 on another number of processes ({before.processes} → 1): the order of the data"
    )


def test_a_damaged_checkpoint_is_reported_and_skipped(run_dir):
    path = write(run_dir, 5, launch())
    (write(run_dir, 6, launch()) / "weights-00000.safetensors").write_bytes(b"Weights")
    assert resume(run_dir, launch()) == (
        path,
        ["checkpoint-6 is skipped: weights-00000.safetensors was altered", "resuming from checkpoint-5"],
    )


@pytest.mark.parametrize("layout", [launch(), launch(2, 2)])
def test_another_precision_is_a_warning(run_dir, layout):
    write(run_dir, 5, layout, precision="bf16")
    _, (_, said) = resume(run_dir, layout)
    assert said.startswith("checkpoint-5 was written in bf16, but this device computes in fp32")


def test_a_checkpoint_of_another_version_is_skipped(run_dir):
    path = write(run_dir, 5, launch())
    (path / STATE_FILE).rename(path / "trainer_state.json")
    write_manifest(path, layout_of(launch(), "fp32"))
    assert resume(run_dir, launch()) == (
        None,
        ["checkpoint-5 was written by another version of summtune (it has no state.json); the training starts again"],
    )


def test_the_best_checkpoint_is_found_after_the_run_was_moved(run_dir):
    write(run_dir, 3, launch())
    write(run_dir, 5, launch(), best=3)
    moved = run_dir.rename(run_dir.with_name("moved"))
    assert start(moved).state.best_step == 3


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_unusable_best_checkpoint_is_a_warning(run_dir, damage):
    if damage == "shorter":
        (write(run_dir, 3, launch()) / "weights-00000.safetensors").write_bytes(b"")
    write(run_dir, 5, launch(), best=3)
    reason = "it is missing" if damage == "gone" else "weights-00000.safetensors has 0 bytes instead of 7"
    _, said = resume(run_dir, launch())
    assert said[1].startswith(f"the best checkpoint up to checkpoint-5 cannot be used (checkpoint-3: {reason})")
    assert start(run_dir).state.best_step is start(run_dir).state.best_loss is None


def test_the_whole_state_is_restored(run_dir):
    state = {"logged_step": 3, "pending_losses": (1.5, 2.5), "evaluations_since_best": 2, "seconds": 7.5}
    write(run_dir, 5, launch(2), **state)
    assert start(run_dir).state == TrainingState(step=5, best_step=None, best_loss=None, **state)
