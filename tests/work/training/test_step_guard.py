import time

import pytest
import torch
from forked_ranks import on_ranks

from summtune.base.errors import StageError
from summtune.work.process.stopping import StopRequest
from summtune.work.training.step_guard import StepGuard

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def guard():
    return StepGuard(StopRequest())


def test_finite_numbers_let_the_training_continue(guard):
    assert guard.look(1, torch.tensor(2.5), torch.tensor(0.3), at_once=False) is False
    assert guard.look(2, torch.tensor(0.0), None, at_once=True) is False
    assert guard.look(3, torch.tensor(2.5), 0.0, at_once=True) is False


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (NAN, 1.0, "the training loss is not a number (got nan at step 7)"),
        (INF, 1.0, "the training loss is not a number (got inf at step 7)"),
        (NAN, NAN, "the training loss is not a number (got nan at step 7)"),
        (2.0, NAN, "the gradient is not a number (got inf or nan at step 7)"),
        (2.0, INF, "the gradient is not a number (got inf or nan at step 7)"),
        (2.0, -1.0, "the gradient is not a number (got inf or nan at step 7)"),  # what DeepSpeed returns then
    ],
)
def test_a_number_that_is_not_finite_is_reported_with_step_and_advice(guard, loss, norm, said):
    for given in (norm, torch.tensor(norm)):
        with pytest.raises(StageError) as caught:
            guard.look(7, torch.tensor(loss), given, at_once=False)
        assert str(caught.value).startswith(f"{said}; lower learning_rate, set max_grad_norm, or set bf16: false")


def test_the_guard_reports_a_request_to_stop(guard):
    guard.stop.asked = True
    assert guard.look(1, torch.tensor(2.5), 0.3, at_once=False) is True


def test_weights_that_are_not_finite_are_refused(guard):
    model = torch.nn.Linear(2, 2)
    guard.check_weights(4, model)
    with torch.no_grad():
        model.weight[1, 1] = INF
    with pytest.raises(StageError, match=r"a weight is not a number \(got inf or nan at step 4\)"):
        guard.check_weights(4, model)


def look_on_two(rank):
    """Return each rank's result: at step 2 only rank 1 is asked to stop, at step 3 only rank 0 has a NaN loss."""
    guard = StepGuard(StopRequest(), torch.distributed.group.WORLD)
    told = [guard.look(1, torch.tensor(1.0), 0.5, at_once=True)]
    guard.stop.asked = rank == 1
    told.append(guard.look(2, torch.tensor(1.0), 0.5, at_once=True))
    told.append(guard.stop.asked)
    try:
        guard.look(3, torch.tensor(NAN if rank == 0 else 1.0), 0.5, at_once=True)
    except StageError as error:
        told.append(str(error).split(";")[0])
    return told


def test_all_ranks_get_the_same_answer():
    told = [False, True, True, "the training loss is not a number (got nan at step 3)"]
    assert on_ranks(2, look_on_two) == [told, told]


def seconds_of_a_look(rank):
    guard = StepGuard(StopRequest(), torch.distributed.group.WORLD)
    loss = torch.tensor(1.0)
    guard.look(1, loss, 0.5, at_once=True)
    started = time.perf_counter()
    for step in range(200):
        guard.look(step, loss, 0.5, at_once=True)
    return (time.perf_counter() - started) / 200


def test_agreeing_takes_a_few_milliseconds():
    assert max(on_ranks(2, seconds_of_a_look)) < 0.02  # 0.2 ms on two idle cores


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_step_is_checked_one_step_later():
    guard = StepGuard(StopRequest())
    broken, fine = torch.tensor(NAN, device="cuda"), torch.tensor(1.0, device="cuda")
    assert guard.look(1, fine, fine, at_once=False) is False
    assert guard.look(2, broken, broken, at_once=False) is False
    with pytest.raises(StageError, match="got nan at step 2"):
        guard.look(3, fine, fine, at_once=False)
    with pytest.raises(StageError, match="got nan at step 4"):
        guard.look(4, broken, broken, at_once=True)
