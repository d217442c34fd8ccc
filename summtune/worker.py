"""Runs stages on every rank: accelerate starts it as ``summtune.worker RUN_DIR STAGE...`` (`summtune.base.start`)."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import psutil
from typing_extensions import assert_never

from summtune.base.errors import SummtuneError, os_error_text
from summtune.base.printing import say
from summtune.plan.plan import LocalPlan, TrainPlan, read_local_plan
from summtune.runs.events import Events
from summtune.runs.run_directory import mark_complete
from summtune.work.process.importing import leave_out, uncollected
from summtune.work.process.stopping import RESUME_LATER, Stopped, StopRequest

PARENT = "SUMMTUNE_PARENT_PID"


def main(arguments: Sequence[str], stop: StopRequest) -> int:
    """Run the named stages in order; return 0, 1 if one failed (its error is in the events), or `RESUME_LATER`.

    Args:
        arguments: the run directory and the stages.
        stop: records a signal that asks to stop; a stage with unsaved work saves it first.
    """
    run_dir, stages = Path(arguments[0]), arguments[1:]
    rank = int(os.environ.get("RANK", "0"))
    (run_dir / "logs").mkdir(exist_ok=True)
    _log_to(run_dir / "logs" / f"{stages[0]}.rank{rank}.log")
    _end_with_parent()
    plan = read_local_plan(run_dir)
    for stage in stages:
        events = Events(run_dir, stage, rank)
        events.started()
        try:
            _run(stage, plan, run_dir, events, stop)
        except Stopped as stopped:
            events.say(str(stopped))
            return RESUME_LATER
        except SummtuneError as error:
            traceback.print_exc()
            events.error(str(error), expected=True, exit_code=error.exit_code)
            return 1
        except OSError as error:
            traceback.print_exc()
            events.error(os_error_text(error), expected=True)
            return 1
        except BaseException as error:
            traceback.print_exc()
            events.error(_unexpected(error), expected=False)
            return 1
        if rank == 0:
            mark_complete(run_dir, stage)
            if stage == "train":  # only now: after a kill before this line, the checkpoints are still needed
                shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
        events.finished()
        stop.release()
        if stop.asked:
            return RESUME_LATER
    return 0


def _run(stage: str, plan: LocalPlan, run_dir: Path, events: Events, stop: StopRequest) -> None:
    match stage:
        case "train":
            with uncollected():
                from summtune.work.process.precision import use_bf16
                from summtune.work.process.preflight import meet

            assert isinstance(plan, TrainPlan), "only a training has this stage"
            precision = "bf16" if use_bf16(plan.recipe.bf16, plan.train.device) else "fp32"
            # Before the slow imports, whose duration differs between machines.
            company = meet(run_dir, precision)
            with uncollected():
                from summtune.work.training.loop import train

            train(plan, run_dir, events, stop, company)
        case "predict":
            _predict(plan, run_dir, events)
        case _:
            raise AssertionError(f"no worker runs the stage {stage!r}")


def _predict(plan: LocalPlan, run_dir: Path, events: Events) -> None:
    match plan.generator:
        case "local":
            with uncollected():
                from summtune.work.generation.prediction import predict

            predict(plan, run_dir, events)
        case "vllm":
            with uncollected():
                from summtune.work.generation.vllm import predict_with_vllm

            predict_with_vllm(plan, run_dir, events)
        case _:
            assert_never(plan.generator)


def unused_packages(plan: LocalPlan) -> list[str]:
    """Return the packages that libraries would import, and that this run does not use."""
    used = {
        "bitsandbytes": plan.quantization is not None,
        "mlflow": isinstance(plan, TrainPlan) and plan.recipe.mlflow_tracking_uri is not None,
    }
    # bitsandbytes would fetch code from the hub with the package kernels.
    return [*(name for name, is_used in used.items() if not is_used), "kernels"]


def _unexpected(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if type(error).__name__ == "OutOfMemoryError" or "out of memory" in first:
        return f"{text}; halve micro_batch_size and double gradient_accumulation_steps, or set gradient_checkpointing"
    return text


def _log_to(path: Path) -> None:
    """Redirect everything that this process prints to its log, including the output of libraries and C++ code."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(handle, stream.fileno())
    os.close(handle)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )


def _end_with_parent() -> None:
    """Exit once the waiting command has ended, for instance by a kill: two runs must never write to one directory."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch(pid: int) -> None:
        while True:
            time.sleep(1)
            if not _is_alive(pid):
                say("the command that started this run has ended; exiting")
                os._exit(1)

    threading.Thread(target=watch, args=(int(parent),), daemon=True).start()


def _is_alive(pid: int) -> bool:
    try:
        # A killed process keeps its id until its parent collects it.
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    request = StopRequest()
    request.listen()
    leave_out(unused_packages(read_local_plan(Path(sys.argv[1]))))
    code = main(sys.argv[1:], request)
    # Finalization of gloo and DeepSpeed can hang or crash; the outputs are already on the disk.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
