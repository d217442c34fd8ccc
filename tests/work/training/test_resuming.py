import json

import pytest

from summtune.base.errors import StageError
from summtune.base.files import read_jsonl
from summtune.plan.launch import Launch
from summtune.runs.checkpoints import write_manifest
from summtune.runs.events import Events, events_file
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


def write(run_dir, step, written_on, best=None, precision="fp32"):
    path = run_dir / "checkpoints" / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    (path / ("optimizer.pt" if written_on.distribution != "deepspeed" else "zero_pp_rank_0.pt")).write_bytes(b"moments")
    write_manifest(path, layout_of(written_on, precision))
    return path


def resume(run_dir, now):
    """Return the checkpoint from which the training resumes, and the texts of the events."""
    start = resume_point(run_dir, now, "fp32", Events(run_dir, "train", 0))
    path = events_file(run_dir)
    return start.checkpoint if start else None, [row["text"] for row in read_jsonl(path)] if path.exists() else []


def test_training_starts_from_scratch_without_checkpoints(run_dir):
    assert resume(run_dir, launch()) == (None, [])


@pytest.mark.parametrize("layout", [launch(), launch(2), launch(2, 2), launch(4, 3), launch(2, 0, "deepspeed")])
def test_training_resumes_on_the_same_layout(run_dir, layout):
    path = write(run_dir, 5, layout)
    assert resume(run_dir, layout) == (path, ["resuming from checkpoint-5"])


@pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1), (4, 2)])
def test_the_number_of_processes_may_change_without_deepspeed(run_dir, before, now):
    path = write(run_dir, 5, launch(before))
    found, (text,) = resume(run_dir, launch(now))
    assert found == path
    assert text.startswith(f"resuming from checkpoint-5 on another number of processes ({before} → {now}): ")


@pytest.mark.parametrize(
    ("before", "now", "changed", "how"),
    [
        (launch(2, 2), launch(4, 2), "processes 2 → 4", "to 2 and run it with the DeepSpeed config of ZeRO-2"),
        (launch(2, 2), launch(2, 3), "zero_stage 2 → 3", "to 2 and run it with the DeepSpeed config of ZeRO-2"),
        (launch(2, 3), launch(1), "processes 2 → 1, zero_stage 3 → 0", "with the DeepSpeed config of ZeRO-3"),
        (launch(1), launch(2, 2), "processes 1 → 2, zero_stage 0 → 2", "to 1 and run it without a DeepSpeed config"),
        (launch(2, 0, "deepspeed"), launch(2), "DeepSpeed → none", "with the DeepSpeed config of ZeRO-0"),
        (launch(2), launch(2, 0, "deepspeed"), "none → DeepSpeed", "without a DeepSpeed config"),
    ],
)
def test_a_state_that_cannot_be_redistributed_is_refused_with_how_to_resume(run_dir, before, now, changed, how):
    write(run_dir, 5, before)
    with pytest.raises(StageError) as caught:
        resume(run_dir, now)
    message = str(caught.value)
    assert message.startswith(f"checkpoint-5 was written on another layout (got {changed}), and its optimizer state")
    assert how in message
    assert message.endswith("or start from scratch with --fresh")


def test_a_damaged_checkpoint_is_reported_and_skipped(run_dir):
    path = write(run_dir, 5, launch())
    (write(run_dir, 6, launch()) / "optimizer.pt").write_bytes(b"Moments")
    assert resume(run_dir, launch()) == (
        path,
        ["checkpoint-6 is skipped: optimizer.pt was altered", "resuming from checkpoint-5"],
    )


def test_another_precision_is_a_warning_or_refused_under_zero(run_dir):
    write(run_dir, 5, launch(), precision="bf16")
    _, (_, said) = resume(run_dir, launch())
    assert said.startswith("checkpoint-5 was written in bf16, but this device computes in fp32")
    write(run_dir, 6, launch(2, 2), precision="bf16")
    with pytest.raises(
        StageError, match=r"layout \(got precision bf16 → fp32\).* set num_processes to 2 .* `bf16: true`,"
    ):
        resume(run_dir, launch(2, 2))


def start(run_dir):
    return resume_point(run_dir, launch(), "fp32", Events(run_dir, "train", 0))


def test_the_best_checkpoint_is_found_after_the_run_was_moved(run_dir):
    best = write(run_dir, 3, launch())
    write(run_dir, 5, launch(), best="/elsewhere/checkpoints/checkpoint-3")
    assert start(run_dir).best == best


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_unusable_best_checkpoint_is_a_warning(run_dir, damage):
    if damage == "shorter":
        (write(run_dir, 3, launch()) / "model.safetensors").write_bytes(b"")
    write(run_dir, 5, launch(), best=str(run_dir / "checkpoints" / "checkpoint-3"))
    reason = "it is missing" if damage == "gone" else "model.safetensors has 0 bytes instead of 7"
    _, said = resume(run_dir, launch())
    assert said[1].startswith(f"the best checkpoint up to checkpoint-5 cannot be used (checkpoint-3: {reason})")
    assert start(run_dir).best is None


def test_losses_and_times_since_the_last_logged_step_are_restored(run_dir):
    path = write(run_dir, 5, launch())
    assert start(run_dir).pending_losses == ()
    (path / "resume.json").write_text(
        '{"since_step": 3, "losses": [1.5, 2.5], "seconds": 7.5, "device_seconds": 15, "peak_memory_bytes": 9}'
    )
    found = start(run_dir)
    assert (found.step, found.logged_step, found.pending_losses) == (5, 3, (1.5, 2.5))
    assert (found.seconds, found.device_seconds, found.peak_memory_bytes) == (7.5, 15, 9)
