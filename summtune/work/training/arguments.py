"""What the Trainer is told: the recipe's numbers, the trackers, and a check that what runs is what was planned."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

from transformers import Seq2SeqTrainingArguments

from summtune.base.errors import StageError
from summtune.plan.plan import TrainPlan
from summtune.runs.events import Events
from summtune.work.process.preflight import PATIENCE


def training_arguments(plan: TrainPlan, run_dir: Path, bf16: bool, steps: int) -> Seq2SeqTrainingArguments:
    """Return the arguments of the Trainer; making them joins the process group.

    Args:
        plan: of the run.
        run_dir: checkpoints and the trackers' files go there.
        bf16: autocast in it.
        steps: optimizer steps in all.
    """
    recipe = plan.recipe
    launch = plan.train
    evaluates = recipe.val_set_size > 0
    by_steps = recipe.eval_steps is not None
    save_steps = recipe.save_steps or recipe.eval_steps
    recomputation: dict[str, Any] = {}
    if recipe.gradient_checkpointing:  # transformers 5.23 has a new name for it and warns of this one, 5.20 has not
        recomputation = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return Seq2SeqTrainingArguments(
        output_dir=str(run_dir / "checkpoints"),
        per_device_train_batch_size=recipe.micro_batch_size,
        per_device_eval_batch_size=recipe.micro_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        max_steps=steps,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler,
        warmup_steps=recipe.warmup_steps or math.ceil(recipe.warmup_ratio * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim=recipe.optimizer,
        bf16=bf16,
        tf32=True if recipe.tf32 else None,
        torch_compile=recipe.torch_compile,
        logging_steps=recipe.logging_steps,
        eval_strategy=("steps" if by_steps else "epoch") if evaluates else "no",
        eval_steps=recipe.eval_steps if by_steps else None,
        save_strategy="steps" if save_steps else "epoch",
        save_steps=save_steps or 500,
        load_best_model_at_end=evaluates,
        metric_for_best_model="eval_loss" if evaluates else None,
        greater_is_better=False if evaluates else None,
        seed=recipe.seed,
        data_seed=recipe.seed,
        restore_callback_states_from_checkpoint=recipe.early_stopping_patience is not None,
        use_cpu=launch.device == "cpu",
        report_to=_trackers(plan, run_dir),
        run_name=recipe.wandb_name or plan.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        average_tokens_across_devices=True,
        # Hiding a loss that is not a number would train on and report nonsense.
        logging_nan_inf_filter=False,
        ddp_find_unused_parameters=False,
        ddp_timeout=int(PATIENCE.total_seconds()),
        dataloader_pin_memory=launch.device == "cuda",
        **recomputation,
    )


def check_launch(plan: TrainPlan, processes: int, arguments: Seq2SeqTrainingArguments, events: Events) -> None:
    """Make sure that what really runs is what was planned.

    Raises:
        StageError: another number of processes runs, or one process would use several devices.
    """
    if arguments.world_size != processes:
        raise StageError(f"the plan is for {processes} processes (got {arguments.world_size}); see the launcher's log")
    if arguments.n_gpu > 1:
        raise StageError(
            f"a process trains on one device (got {arguments.n_gpu}); set CUDA_VISIBLE_DEVICES or num_processes"
        )
    every = plan.recipe.eval_steps
    if every is not None and every > arguments.max_steps:
        events.warn(f"eval_steps {every} is never reached in {arguments.max_steps} steps: no best checkpoint is chosen")


def _trackers(plan: TrainPlan, run_dir: Path) -> list[str]:
    """Return the trackers to report to; their settings reach them through their own environment variables."""
    recipe = plan.recipe
    trackers = []
    if recipe.wandb_project:
        trackers.append("wandb")
        given = {"PROJECT": recipe.wandb_project, "ENTITY": recipe.wandb_entity, "MODE": recipe.wandb_mode}
        os.environ.update({f"WANDB_{key}": value for key, value in given.items() if value})
        os.environ["WANDB_DIR"] = str(run_dir / "logs")
    if recipe.use_tensorboard:
        trackers.append("tensorboard")
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(run_dir / "logs" / "tensorboard")
    if recipe.mlflow_tracking_uri:
        trackers.append("mlflow")
        os.environ["MLFLOW_TRACKING_URI"] = recipe.mlflow_tracking_uri
        if recipe.mlflow_experiment_name:
            os.environ["MLFLOW_EXPERIMENT_NAME"] = recipe.mlflow_experiment_name
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise StageError(f"the recipe reports to {tracker}, which is not installed; pip install {tracker}")
    return trackers
