"""The train stage: fine-tunes all weights or an adapter, resumes where it stopped, and writes model/."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Seq2SeqTrainingArguments,
)

from summtune import checkpoints
from summtune.errors import DataError, StageError
from summtune.events import Events
from summtune.files import read_jsonl, write_json
from summtune.plan import Plan
from summtune.prompts import template_text
from summtune.records import Dialogue
from summtune.run_directory import DATA_FILES
from summtune.work import cpu_adam
from summtune.work.batches import Collator, GlobalBatchSampler, Pair, Pairs
from summtune.work.encoding import PromptEncoder
from summtune.work.models import (
    add_adapter,
    alias_names,
    count_parameters,
    load_model,
    load_tokenizer,
    mark_untied,
    publish,
)
from summtune.work.precision import check_device, use_bf16
from summtune.work.train_log import TrainLog
from summtune.work.trainer import LayoutInvariantTrainer, Recorder, peak_memory_bytes


def train(plan: Plan, run_dir: Path, events: Events) -> None:
    """Train as planned and write ``model/``, ``train_log.jsonl`` and ``training.json``.

    Raises:
        StageError: the loss is not a number, or a checkpoint was written on another layout.
        ModelError, DataError: the model or the data cannot be used.
    """
    started = time.perf_counter()
    assert plan.model is not None
    assert plan.model.folder is not None
    assert plan.batch is not None
    recipe = plan.recipe
    launch = plan.stages[0].launch
    assert launch is not None
    check_device(launch.device)
    bf16 = use_bf16(recipe.bf16, launch.device)
    folder = Path(plan.model.folder)
    tokenizer = load_tokenizer(folder)
    training_pairs = _pairs(plan, run_dir, "train", tokenizer, events)
    steps = recipe.max_steps or math.ceil(recipe.num_epochs * math.ceil(len(training_pairs) / plan.batch.global_batch))
    # Before the model: under ZeRO-3 this is what makes from_pretrained shard the weights as it loads them.
    arguments = _arguments(plan, run_dir, bf16, steps)
    _check_launch(plan, launch.processes, arguments, events)
    cpu_adam.prepare(plan, run_dir, events)
    torch.manual_seed(recipe.seed)  # the adapter's random weights
    # Frozen weights need no more precision than they are computed with; peft keeps the adapter's own in fp32.
    dtype = torch.bfloat16 if recipe.adapter is not None and bf16 else torch.float32
    model: PreTrainedModel | PeftModel = load_model(folder, dtype, quantize=recipe.adapter == "qlora")
    if launch.device == "cpu" and model.config.model_type == "t5":
        # T5's bias on the scores needs a gradient. On a CPU, sdpa then has no fused kernel: half the speed at 250 tokens.
        model.set_attn_implementation("eager")
    aliases = alias_names(model)
    if recipe.adapter is not None:
        model = add_adapter(model, recipe, plan.model.base_model)
    model.config.use_cache = False
    trainable, total = count_parameters(model)
    events.say(f"training {trainable:,} of {total:,} parameters ({100 * trainable / total:.2f} %)")

    eos = _eos(tokenizer)
    train_set = Pairs(training_pairs, plan.batch.global_batch, eos)
    validation = _pairs(plan, run_dir, "validation", tokenizer, events)
    evaluated_at_once = arguments.per_device_eval_batch_size * arguments.world_size
    eval_set = Pairs(validation, evaluated_at_once, eos) if validation else None
    sampler = GlobalBatchSampler(train_set, plan.batch.global_batch, recipe.seed, recipe.group_by_length)
    layout = _layout(plan)
    resumed = _resume_point(run_dir, layout, events, first_rank=arguments.process_index == 0)
    log = TrainLog(run_dir / "train_log.jsonl")
    if arguments.process_index == 0:
        log.rewind(checkpoints.step_of(resumed) if resumed else 0)
    recorder = Recorder(log, events, sampler, checkpoints.step_of(resumed) if resumed else 0)
    callbacks: list[Any] = [recorder]
    if recipe.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=recipe.early_stopping_patience))
    trainer = LayoutInvariantTrainer(
        sampler=sampler,
        aliases=aliases,
        layout=layout,
        keep_checkpoints=recipe.save_total_limit,
        evaluation_tokens=eval_set.target_tokens if eval_set else 0,
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        data_collator=_collator(model, tokenizer, launch.device),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    _save_model(trainer, run_dir)
    if trainer.is_world_process_zero():
        best = trainer.state.best_model_checkpoint
        write_json(
            run_dir / "training.json",
            {
                "trainable_parameters": trainable,
                "total_parameters": total,
                "pairs": len(training_pairs),
                "steps": trainer.state.global_step,
                "epochs": round(trainer.state.epoch or 0.0, 4),
                "train_loss": log.mean_loss(),
                "eval_loss": trainer.state.best_metric,
                "best_step": checkpoints.step_of(Path(best)) if best else None,
                "resumed_from_step": checkpoints.step_of(resumed) if resumed else None,
                "seconds": round(time.perf_counter() - started, 2),
                "processes": arguments.world_size,
                "peak_memory_bytes": peak_memory_bytes(),
                "precision": "bf16" if bf16 else "fp32",
            },
        )
    # The same processes predict next, and every one of them reads training.json.
    trainer.accelerator.wait_for_everyone()


def _pairs(plan: Plan, run_dir: Path, role: str, tokenizer: PreTrainedTokenizerBase, events: Events) -> list[Pair]:
    """Return the tokenized pairs of a role: one for each reference of each dialogue."""
    recipe = plan.recipe
    path = run_dir / DATA_FILES[role]
    dialogues = [Dialogue.from_json(row) for row in read_jsonl(path)] if path.exists() else []
    drop = recipe.long_dialogues == "drop"
    template = template_text(recipe.prompt_template)
    encoder = PromptEncoder(tokenizer, template, recipe.sequence_len, recipe.long_dialogues)
    prompts = encoder.encode(dialogues)
    pairs: list[Pair] = []
    cut_targets = 0
    for dialogue, prompt in zip(dialogues, prompts, strict=True):
        if drop and prompt.truncated:
            continue
        for labels in tokenizer(list(dialogue.references))["input_ids"]:
            if len(labels) > recipe.target_len:
                cut_targets += 1
                labels = [*labels[: recipe.target_len - 1], _eos(tokenizer)]
            pairs.append(Pair(input_ids=prompt.ids, labels=labels))
    cut = sum(prompt.truncated for prompt in prompts)
    if cut:
        done = "left out" if drop else "cut"
        events.warn(
            f"{role}: {cut} of {len(dialogues)} dialogues exceed sequence_len {recipe.sequence_len} and are {done}"
        )
    if cut_targets:
        events.warn(
            f"{role}: {cut_targets} of {len(pairs)} summaries exceed target_len {recipe.target_len} and are cut"
        )
    if role == "train" and not pairs:
        raise DataError(
            f"no training pair is left (got {len(dialogues)} dialogues, {cut} too long); raise sequence_len"
        )
    return pairs


def _arguments(plan: Plan, run_dir: Path, bf16: bool, steps: int) -> Seq2SeqTrainingArguments:
    recipe = plan.recipe
    launch = plan.stages[0].launch
    assert launch is not None
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
        dataloader_pin_memory=launch.device == "cuda",
        **recomputation,
    )


def _check_launch(plan: Plan, processes: int, arguments: Seq2SeqTrainingArguments, events: Events) -> None:
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


def _trackers(plan: Plan, run_dir: Path) -> list[str]:
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


def _collator(model: Any, tokenizer: PreTrainedTokenizerBase, device: str) -> Collator:
    start = model.config.decoder_start_token_id
    assert isinstance(tokenizer.pad_token_id, int)
    return Collator(tokenizer.pad_token_id, start, multiple=8 if device == "cuda" else 1)


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    assert isinstance(tokenizer.eos_token_id, int)
    return tokenizer.eos_token_id


def _layout(plan: Plan) -> dict[str, Any]:
    launch = plan.stages[0].launch
    assert launch is not None
    assert plan.batch is not None
    return {
        "processes": launch.processes,
        "zero_stage": launch.zero_stage,
    }


def _resume_point(run_dir: Path, layout: dict[str, Any], events: Events, first_rank: bool) -> Path | None:
    """Return the checkpoint to go on from; None to begin.

    Raises:
        StageError: it was written on another layout, whose state cannot be divided anew.
    """
    resumed, damaged = checkpoints.latest_good(run_dir / "checkpoints")
    for checkpoint in damaged:
        events.warn(f"{checkpoint.path.name} is passed over: {checkpoint.reason}")
    if resumed is None:
        return None
    written: dict[str, Any] = checkpoints.layout_of(resumed)
    changed = [f"{key} {written.get(key)} → {value}" for key, value in layout.items() if written.get(key) != value]
    if changed:
        raise StageError(
            f"{resumed.name} was written on another layout ({', '.join(changed)}); run it as before to go on, "
            "or begin anew with --fresh"
        )
    if first_rank:
        events.say(f"going on from {resumed.name}")
    return resumed


def _save_model(trainer: LayoutInvariantTrainer, run_dir: Path) -> None:
    """Write ``model/``: under another name first, so that it is whole or absent."""
    partial = run_dir / "model.partial"
    if trainer.is_world_process_zero():
        shutil.rmtree(partial, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.config.use_cache = True
    trainer.save_model(str(partial))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        mark_untied(partial)
        _check_saved(partial)
        publish(partial, run_dir / "model")
    trainer.accelerator.wait_for_everyone()


def _check_saved(folder: Path) -> None:
    """Reopen what was saved: every number finite, and an adapter that is not zero.

    Raises:
        StageError: a weight is not finite, nothing was saved, or the adapter did not change.
    """
    from safetensors import safe_open

    files: Sequence[Path] = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StageError(
            f"no weights were saved (got {folder.name} without safetensors); see the log of the train stage"
        )
    largest_b = None
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, an open safetensors file is no mapping
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise StageError(f"a trained weight is not a number (got {name}); lower learning_rate")
                if ".lora_B." in name:
                    largest_b = max(largest_b or 0.0, float(tensor.abs().max()))
    if largest_b == 0.0:
        raise StageError("the adapter did not change in training (got lora_B = 0); raise learning_rate or max_steps")
