"""Builds the Accelerator of a training, which joins the processes that the plan asks for."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import DistributedType

from summtune.base.errors import StageError
from summtune.plan.plan import TrainPlan
from summtune.work.process.preflight import PATIENCE


def accelerator_of(plan: TrainPlan, bf16: bool) -> Accelerator:
    """Return the Accelerator of a training; this joins the process group.

    Under ZeRO-3 it comes before the model, whose weights are then sharded as they are loaded.

    Args:
        plan: of the training.
        bf16: whether the forward and backward pass compute in bfloat16.

    Raises:
        StageError: other processes run than planned.
    """
    if plan.recipe.tf32:
        torch.set_float32_matmul_precision("high")
    options: dict[str, Any] = {}
    if plan.deepspeed is not None:
        from accelerate import DeepSpeedPlugin

        options["deepspeed_plugin"] = DeepSpeedPlugin(
            hf_ds_config=deepspeed_config(plan, bf16), zero3_init_flag=plan.train.zero_stage == 3
        )
        options["gradient_accumulation_steps"] = plan.recipe.gradient_accumulation_steps
    if plan.recipe.torch_compile:
        options["dynamo_backend"] = "inductor"
    # Not as `Accelerator(cpu=True)`, which would train without DeepSpeed and not report it.
    PartialState(cpu=plan.train.device == "cpu", timeout=PATIENCE)
    accelerator = Accelerator(
        mixed_precision="bf16" if bf16 else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=False)],
        **options,
    )
    planned, got = plan.train.processes, accelerator.num_processes
    if got != planned:
        raise StageError(f"the plan is for {planned} processes (got {got}); see the launcher's log")
    if (plan.deepspeed is not None) != (accelerator.distributed_type == DistributedType.DEEPSPEED):
        asked = "DeepSpeed" if plan.deepspeed is not None else "no DeepSpeed"
        raise StageError(f"the plan is for {asked} (got {accelerator.distributed_type}); see the launcher's log")
    return accelerator


def deepspeed_config(plan: TrainPlan, bf16: bool) -> dict[str, Any]:
    """Return the plan's DeepSpeed config with the values of the recipe, which the user's file leaves to it.

    Args:
        plan: with a DeepSpeed config.
        bf16: whether DeepSpeed computes in bfloat16.
    """
    assert plan.deepspeed is not None, "only a training with DeepSpeed has a config"
    left_out = ("optimizer", "scheduler", "fp16")  # "auto" or disabled: ours are passed as objects
    given = {key: value for key, value in plan.deepspeed.items() if key not in left_out}
    return given | {
        "train_batch_size": "auto",  # accelerate multiplies: zero.Init would not know the number of processes yet
        "train_micro_batch_size_per_gpu": plan.recipe.micro_batch_size,
        "gradient_accumulation_steps": plan.recipe.gradient_accumulation_steps,
        "gradient_clipping": plan.recipe.max_grad_norm,
        "bf16": {"enabled": bf16},
    }
