"""Trainings whose ranks are real processes that run the worker's own main.

They are forked from one that has imported torch, so that a training takes a second.
"""

import os
import time
from contextlib import suppress

import pytest
from forked_ranks import environment, forking, free_port
from real_command import Finished, layout

from summtune.commands import pipeline
from summtune.plan.resolve import resolve
from summtune.runs.checkpoints import step_of
from summtune.work.process.stopping import RESUME_LATER

HOLD = "hold"  # contains the step whose checkpoint must stay without a manifest


class Quiet:
    """A display that shows nothing."""

    listener = staticmethod(print)

    def __getattr__(self, name):
        return lambda *_, **__: None


class Started(BaseException):
    """Ends the command's own part where it would start processes."""


def prepared(recipe, run_dir, keys):
    """Write the run directory as the command does, for the layout of this call, and return the launch."""
    launches = []

    def run_processes(launch, *_):
        launches.append(launch)
        raise Started

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run_processes", run_processes)
        with suppress(Started):
            pipeline.run(resolve(recipe, layout(**keys)[1::2], run_dir), Quiet())
    return launches[0]


def train_as_rank(rank, launch, run_dir, port, stop_at):
    """Be one rank: what accelerate sets, and the worker's main, which obeys ``hold``."""
    from summtune import worker
    from summtune.runs import checkpoints
    from summtune.work.process.stopping import StopRequest
    from summtune.work.training.loop import Training

    stop, take_step = StopRequest(), Training._forward_and_backward

    def step(self, pairs):
        stop.asked = stop.asked or self.state.step + 1 == stop_at
        return take_step(self, pairs)

    Training._forward_and_backward = step

    write_manifest = checkpoints.write_manifest

    def write_unless_held(checkpoint, layout):
        hold = run_dir / HOLD
        while hold.exists() and step_of(checkpoint) == int(hold.read_text()):
            time.sleep(0.001)
        write_manifest(checkpoint, layout)

    checkpoints.write_manifest = write_unless_held

    if launch.processes > 1 or launch.distribution == "deepspeed":
        os.environ.update(environment(rank, launch.processes, port))
    if launch.distribution == "deepspeed":
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        os.environ["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(run_dir / "ds_config.json")
        os.environ["ACCELERATE_DEEPSPEED_ZERO3_INIT"] = str(launch.zero_stage == 3).lower()
        os.environ["ACCELERATE_CONFIG_DS_FIELDS"] = "deepspeed_config_file,zero3_init_flag"
    os._exit(worker.main([str(run_dir), "train"], stop))


def start(launch, run_dir, stop_at=None):
    """Start the ranks of a training; with ``stop_at``, they are asked to stop in that step."""
    context, port = forking(), free_port()
    ranks = [
        context.Process(target=train_as_rank, args=(rank, launch, run_dir, port, stop_at))
        for rank in range(launch.processes)
    ]
    for rank in ranks:
        rank.start()
    return ranks


def finish(launch, run_dir, stop_at=None):
    """Train until the end, or until a stop, and return the run directory."""
    ranks = start(launch, run_dir, stop_at)
    for rank in ranks:
        rank.join(120)
    logs = "".join(path.read_text()[-2000:] for path in sorted((run_dir / "logs").glob("train.rank*.log")))
    assert [rank.exitcode for rank in ranks] == [RESUME_LATER if stop_at else 0] * len(ranks), logs
    return Finished(run_dir)
