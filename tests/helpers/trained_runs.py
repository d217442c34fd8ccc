"""Helpers that the tests of training share besides fixtures."""

import contextlib

import pytest
import torch
from safetensors.torch import load_file

from summtune.work.process.stopping import StopRequest
from summtune.work.training.loop import Training, train


def weights(run):
    return load_file(run.folder / "model" / "model.safetensors")


def eval_rows(run):
    return {row["step"]: row["eval_loss"] for row in run.log if "eval_loss" in row}


def go_on(run):
    train(run.plan, run.folder, run.events(), StopRequest())
    return run


@contextlib.contextmanager
def before_each_step(act):
    """Call a function with the steps that are done, before each step of the trainings inside."""
    take_step = Training._forward_and_backward

    def step(self, pairs):
        act(self.state.step)
        return take_step(self, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_forward_and_backward", step)
        yield


class Killed(BaseException):
    """What ends a process in the middle of a step."""


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
