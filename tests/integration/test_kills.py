"""kill -9 of one rank or all, at random moments and inside a save: the end is bitwise that of an undisturbed run.

A kill inside a save is certain: the file ``hold`` in the run directory makes the first rank wait before
it declares a checkpoint whole. The same with the whole command is in test_resume.py, and twenty times in
benchmarks/soak.py.
"""

import os
import random
import signal
import time

import pytest
from families import both_families
from forked_trainings import HOLD, finish, prepared, start
from real_command import same_weights

from summtune.runs.checkpoints import MANIFEST, checkpoints, damage, step_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled")]

STEPS = 14
TWO = {"num_processes": 2, "micro_batch_size": 4}
MODES = {
    "one process": {"save_total_limit": 1},
    "two processes": TWO,
    "ZeRO-2": TWO | {"deepspeed": "ds_configs/zero2.json"},
    "ZeRO-3": TWO | {"deepspeed": "ds_configs/zero3.json"},
    "LoRA": {"adapter": "lora", "lora_r": 4},
}


def saved(run_dir):
    return max(
        (step_of(path) for path in checkpoints(run_dir / "checkpoints") if (path / MANIFEST).exists()), default=0
    )


def kill(launch, run_dir, rng, one, inside):
    """Start the training, and kill one rank or all at a random moment, or inside the save that follows it."""
    target = min(saved(run_dir) + rng.randint(1, 3), STEPS - 2)
    saving = run_dir / "checkpoints" / f"checkpoint-{target + 1}"
    if inside:
        assert not saving.exists()
        (run_dir / HOLD).write_text(str(target + 1))
    ranks = start(launch, run_dir)
    end = time.monotonic() + 120
    while saved(run_dir) < target or (inside and not saving.exists()):
        assert time.monotonic() < end
        assert all(rank.is_alive() for rank in ranks), (run_dir / "logs" / "train.rank0.log").read_text()[-3000:]
        time.sleep(0 if inside else 0.001)
    time.sleep(rng.uniform(0, 0.05))  # with part of its files, or with all but the manifest
    was_inside = saving.exists() and not (saving / MANIFEST).exists()
    os.kill(rng.choice(ranks).pid, signal.SIGKILL) if one else [rank.kill() for rank in ranks]
    if one:
        time.sleep(0.2)  # the others lose it, and torchrun ends them
    for rank in ranks:
        rank.kill()
        rank.join(20)
    if inside:
        assert was_inside
        assert saved(run_dir) == target, "the checkpoint that was being written is whole"
        (run_dir / HOLD).unlink()
    assert saved(run_dir) < STEPS


@both_families
@pytest.mark.parametrize("mode", MODES)
def test_killed_trainings_resume_to_the_same_end(write_recipe, tmp_path, mode):
    recipe = write_recipe("kills", max_steps=STEPS, save_steps=1, save_total_limit=2)
    alone = tmp_path / "alone"
    reference = finish(prepared(recipe, alone, MODES[mode]), alone)
    struck, rng = tmp_path / "struck", random.Random(mode)
    launch = prepared(recipe, struck, MODES[mode])
    for one, inside in ((False, False), (True, True), (False, True)):
        kill(launch, struck, rng, one, inside)
        assert any(damage(path) is None for path in checkpoints(struck / "checkpoints"))
    run = finish(launch, struck)
    assert run.json("training.json")["resumed_from_step"] >= 3
    assert [row["step"] for row in run.steps] == list(range(1, STEPS + 1))
    assert run.losses == reference.losses
    assert same_weights(run.weights, reference.weights)
