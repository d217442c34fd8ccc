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


def write(run_dir, step, written_on, best=None, precision="fp32", kernels=None):
    path = run_dir / "checkpoints" / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    (path / ("optimizer.pt" if written_on.distribution != "deepspeed" else "zero_pp_rank_0.pt")).write_bytes(b"moments")
    write_manifest(path, layout_of(written_on, precision, kernels))
    return path


def go_on(run_dir, now, kernels=None):
    """Return where the training goes on, and what was said."""
    start = resume_point(run_dir, now, "fp32", kernels, Events(run_dir, "train", 0))
    path = events_file(run_dir)
    return start.checkpoint if start else None, [row["text"] for row in read_jsonl(path)] if path.exists() else []


def test_without_checkpoints_it_begins(run_dir):
    assert go_on(run_dir, launch()) == (None, [])


@pytest.mark.parametrize("layout", [launch(), launch(2), launch(2, 2), launch(4, 3), launch(2, 0, "deepspeed")])
def test_on_the_same_layout_it_goes_on(run_dir, layout):
    path = write(run_dir, 5, layout)
    assert go_on(run_dir, layout) == (path, ["going on from checkpoint-5"])


@pytest.mark.parametrize(("before", "now"), [(1, 2), (2, 1), (4, 2)])
def test_without_deepspeed_the_number_of_processes_may_change(run_dir, before, now):
    path = write(run_dir, 5, launch(before))
    found, (said,) = go_on(run_dir, launch(now))
    assert found == path
    assert said == (
        f"going on from checkpoint-5 on another number of processes ({before} → {now}): the order of the data stays "
        "the same, dropout draws other random numbers"
    )


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
def test_what_cannot_be_divided_anew_is_refused_and_how_to_go_on_is_said(run_dir, before, now, changed, how):
    write(run_dir, 5, before)
    with pytest.raises(StageError) as caught:
        go_on(run_dir, now)
    message = str(caught.value)
    assert message.startswith(f"checkpoint-5 was written on another layout ({changed}), and its optimizer state")
    assert how in message
    assert message.endswith("or begin anew with --fresh")


def test_a_damaged_one_is_reported_and_passed_over(run_dir):
    path = write(run_dir, 5, launch())
    (write(run_dir, 6, launch()) / "optimizer.pt").write_bytes(b"Moments")
    assert go_on(run_dir, launch()) == (
        path,
        ["checkpoint-6 is passed over: optimizer.pt was altered", "going on from checkpoint-5"],
    )


def test_another_precision_is_said_or_refused(run_dir):
    write(run_dir, 5, launch(), precision="bf16")
    _, (_, said) = go_on(run_dir, launch())
    assert said.startswith(
        "checkpoint-5 was written in bf16, and this device computes in fp32: from here on the numbers"
    )
    write(run_dir, 6, launch(2, 2), precision="bf16")
    with pytest.raises(StageError, match=r"layout \(precision bf16 → fp32\).* set num_processes to 2 .* `bf16: true`,"):
        go_on(run_dir, launch(2, 2))


@pytest.mark.parametrize("layout", [launch(), launch(2, 2)])
def test_other_kernels_of_the_cpu_are_said_and_nothing_is_refused(run_dir, layout):
    path = write(run_dir, 5, layout, kernels="compiled")
    found, said = go_on(run_dir, layout, "torch's own")
    assert found == path
    assert said[1] == (
        "checkpoint-5 was written with compiled kernels, and this machine has torch's own ones: from here on the "
        "numbers are others, those of dropout too"
    )


@pytest.mark.parametrize(("before", "now"), [("compiled", None), (None, "compiled"), ("compiled", "compiled")])
def test_on_another_device_or_with_the_same_kernels_nothing_is_said(run_dir, before, now):
    path = write(run_dir, 5, launch(), kernels=before)
    assert go_on(run_dir, launch(), now) == (path, ["going on from checkpoint-5"])


def start(run_dir):
    return resume_point(run_dir, launch(), "fp32", None, Events(run_dir, "train", 0))


def test_the_best_checkpoint_is_found_also_where_the_run_was_moved(run_dir):
    best = write(run_dir, 3, launch())
    write(run_dir, 5, launch(), best="/elsewhere/checkpoints/checkpoint-3")
    assert start(run_dir).best == best


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_a_best_checkpoint_that_cannot_be_used_is_said(run_dir, damage):
    if damage == "shorter":
        (write(run_dir, 3, launch()) / "model.safetensors").write_bytes(b"")
    write(run_dir, 5, launch(), best=str(run_dir / "checkpoints" / "checkpoint-3"))
    reason = "it is gone" if damage == "gone" else "model.safetensors has 0 bytes instead of 7"
    _, said = go_on(run_dir, launch())
    assert said[1] == (
        f"the best checkpoint until checkpoint-5 cannot be used (checkpoint-3: {reason}): a later one is taken, or "
        "without a later evaluation the last weights"
    )
    assert start(run_dir).best is None


def test_what_was_lost_since_the_last_line_of_the_log_is_found_again(run_dir):
    path = write(run_dir, 5, launch())
    assert start(run_dir).pending_losses == ()
    (path / "resume.json").write_text(
        '{"since_step": 3, "losses": [1.5, 2.5], "seconds": 7.5, "device_seconds": 15, "peak_memory_bytes": 9}'
    )
    found = start(run_dir)
    assert (found.step, found.logged_step, found.pending_losses) == (5, 3, (1.5, 2.5))
    assert (found.seconds, found.device_seconds, found.peak_memory_bytes) == (7.5, 15, 9)
