"""The train stage: fine-tunes all weights or an adapter, resumes from a checkpoint, and writes model/."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, PreTrainedModel, PreTrainedTokenizerBase

from summtune.base.errors import DataError
from summtune.base.files import write_json
from summtune.base.numbers import counted
from summtune.base.places import BUILTIN_MODELS
from summtune.plan.plan import TrainPlan
from summtune.prompts.templates import template_text
from summtune.runs import checkpoints
from summtune.runs.events import Events
from summtune.runs.run_directory import DATA_FILES, TOKENS
from summtune.runs.statistics import TRAINING_FILE, Precision, Training
from summtune.work.cpu.t5_on_cpu import kernels_of, quicken
from summtune.work.generation.decoding import generation_config
from summtune.work.models.adapters import add_adapter, train_quantized
from summtune.work.models.changed_weights import unchanged_weights
from summtune.work.models.families import family_of_model
from summtune.work.models.family import ModelFamily
from summtune.work.models.loading import (
    alias_names,
    count_parameters,
    load_model,
    load_tokenizer,
)
from summtune.work.models.model_check import check_model
from summtune.work.models.saved_model import freeze_computed, save_model
from summtune.work.process import operators
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.process.preflight import Company
from summtune.work.process.stopping import StopRequest
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.loss_warnings import loss_warnings, tell_losses
from summtune.work.tokens.pairs import Pairs
from summtune.work.tokens.tokens import Tokens, tokens_of
from summtune.work.training.arguments import check_launch, training_arguments
from summtune.work.training.batches import GlobalBatchSampler
from summtune.work.training.resuming import layout_of, resume_point
from summtune.work.training.saving_trial import SavingTrial
from summtune.work.training.step_guard import StepGuard
from summtune.work.training.target_tokens import TargetTokens
from summtune.work.training.train_log import TrainLog
from summtune.work.training.trainer import LayoutInvariantTrainer, Recorder


def train(plan: TrainPlan, run_dir: Path, events: Events, stop: StopRequest, company: Company | None = None) -> None:
    """Train as planned and write ``model/``, ``train_log.jsonl`` and ``training.json``.

    Args:
        plan: of the run.
        run_dir: holds the data that the command prepared.
        events: to the waiting command.
        stop: records a signal that asks to stop; a checkpoint is written first.
        company: all ranks, if there are several.

    Raises:
        StageError: the loss is not a number, or a checkpoint was written on another layout.
        Stopped: a signal asked to stop, and a checkpoint is written.
        ModelError, DataError: the model or the data cannot be used.
    """
    started = time.perf_counter()
    recipe = plan.recipe
    launch = plan.train
    check_device(launch.device)
    bf16 = use_bf16(recipe.bf16, launch.device)
    precision: Precision = "bf16" if bf16 else "fp32"
    tokenizer = load_tokenizer(Path(plan.model.folder))
    needs = check_model(Path(plan.model.folder), tokenizer, recipe)
    tokenized = _tokenized(plan, run_dir, tokenizer, events)
    training_pairs = tokenized["train"].pairs
    steps = recipe.max_steps or math.ceil(recipe.num_epochs * math.ceil(len(training_pairs) / plan.batch.global_batch))
    if recipe.deepspeed is not None:
        operators.free_locks(events.say)
    # Before the model: under ZeRO-3 these arguments make from_pretrained shard the weights as it loads them.
    arguments = training_arguments(plan, run_dir, bf16, steps)
    check_launch(plan, launch.processes, arguments, events)
    if company is not None:
        took = company.reduce_once(arguments.device)
        events.say(f"{company}; all-reduce in {1000 * took:.0f} ms")
    operators.prepare(plan, events)
    model, aliases = _model(plan, launch.device, bf16, events)
    family = family_of_model(model)
    trainable, total = count_parameters(model)
    events.say(f"training {trainable:,} of {total:,} parameters ({100 * trainable / total:.2f} %)")

    train_set = Pairs(training_pairs, plan.batch.global_batch, needs.end, family.example)
    eval_set = _evaluated(tokenized, arguments, needs.end, family)
    sampler = GlobalBatchSampler(train_set, plan.batch.global_batch, recipe.seed, recipe.group_by_length)
    start = resume_point(run_dir, launch, precision, kernels_of(model), events)

    def spent() -> dict[str, Any]:
        now = time.perf_counter() - started
        before = (start.seconds, start.device_seconds, start.peak_memory_bytes) if start else (0.0, 0.0, 0)
        return {
            "seconds": round(before[0] + now, 2),
            "device_seconds": round(before[1] + now * arguments.world_size, 2),
            "peak_memory_bytes": max(before[2], peak_memory_bytes()),
        }

    log = TrainLog(run_dir / "train_log.jsonl")
    if arguments.process_index == 0:
        log.rewind(start.step if start else 0)
    recorder = Recorder(log, events, sampler, start.step if start else 0)
    patience = recipe.early_stopping_patience
    early_stopping = [] if patience is None else [EarlyStoppingCallback(early_stopping_patience=patience)]
    trainer = LayoutInvariantTrainer(
        sampler=sampler,
        guard=StepGuard(stop, company.group if company else None, None if start else plan.pause_after),
        aliases=aliases,
        layout=layout_of(launch, precision, kernels_of(model)),
        keep_checkpoints=recipe.save_total_limit,
        evaluation_tokens=eval_set.target_tokens if eval_set else 0,
        start=start,
        spent=spent,
        events=events,
        targets=TargetTokens(model) if launch.device == "cpu" and not recipe.torch_compile else None,
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=eval_set,
        data_collator=family.collator(model, needs, 8 if launch.device == "cuda" else 1),
        processing_class=tokenizer,
        callbacks=[recorder, *early_stopping],
    )
    trainer.add_callback(SavingTrial(trainer, run_dir))
    stop.hold()
    trainer.train(resume_from_checkpoint=str(start.checkpoint) if start else None)
    if patience is not None and trainer.state.global_step < trainer.state.max_steps:
        lacking = f"no better validation loss in {counted(patience, 'evaluation')}"
        events.say(f"stopped early at step {trainer.state.global_step} of {trainer.state.max_steps}: {lacking}")
    save_model(trainer, run_dir)
    if trainer.is_world_process_zero():
        weights = unchanged_weights(run_dir / "model", Path(plan.model.folder))
        write_json(
            run_dir / TRAINING_FILE,
            Training(
                trainable_parameters=trainable,
                total_parameters=total,
                pairs=len(training_pairs),
                steps=trainer.state.global_step,
                epochs=round(trainer.state.epoch or 0.0, 4),
                eval_loss=trainer.state.best_metric,
                best_step=_best_step(trainer),
                train_loss=log.mean_loss(),
                resumed_from_step=start.step if start else None,
                **spent(),
                processes=arguments.world_size,
                precision=precision,
                unchanged_tensors=weights["unchanged_tensors"],
                compared_tensors=weights["compared_tensors"],
                lost_text={role: each.lost for role, each in tokenized.items()},
                warnings=tuple(text for role, each in tokenized.items() for text in loss_warnings(role, each.lost)),
            ).to_json(),
        )
    # The same processes predict next, and all of them read training.json.
    trainer.accelerator.wait_for_everyone()


def _evaluated(tokenized: dict[str, Tokens], arguments: Any, end: int, family: ModelFamily) -> Pairs | None:
    """Return the examples of the validation data; None where there are none."""
    tokens = tokenized.get("validation")
    at_once = arguments.per_device_eval_batch_size * arguments.world_size
    return Pairs(tokens.pairs, at_once, end, family.example) if tokens else None


def _model(plan: TrainPlan, device: str, bf16: bool, events: Events) -> tuple[PreTrainedModel | PeftModel, set[str]]:
    """Return the model to train, with its adapter, and the names of weights that also have another name."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)  # the adapter's random weights
    # Frozen weights need no more precision than the computation; peft keeps the adapter's weights in fp32.
    dtype = torch.bfloat16 if plan.adapter is not None and bf16 else torch.float32
    model: PreTrainedModel | PeftModel = load_model(Path(plan.model.folder), dtype, plan.quantization)
    if device == "cpu" and not recipe.torch_compile:
        quicken(model, events.say)
    # The settings of the predict stage are saved with the model; generation settings of the base are not.
    model.generation_config = generation_config(model, plan.recipe.generation)
    freeze_computed(model)
    aliases = alias_names(model)
    if plan.adapter is not None:
        # Only summtune knows the names of bundled models, so peft gets the folder.
        bundled = plan.model.base_model in BUILTIN_MODELS
        base_model = plan.model.folder if bundled else plan.model.base_model
        if plan.quantization is not None:
            model = train_quantized(model, recipe.gradient_checkpointing)
        model = add_adapter(model, plan.adapter, base_model, plan.model.revision)
    model.config.use_cache = False
    note = family_of_model(model).note(model)
    if note is not None:
        events.say(note)
    return model, aliases


def _best_step(trainer: LayoutInvariantTrainer) -> int | None:
    best = trainer.state.best_model_checkpoint
    return checkpoints.step_of(Path(best)) if best else None


def _tokenized(plan: TrainPlan, run_dir: Path, tokenizer: PreTrainedTokenizerBase, events: Events) -> dict[str, Tokens]:
    """Return the tokens of the training data and of any validation data."""
    roles = [role for role in ("train", "validation") if (run_dir / DATA_FILES[role]).exists()]
    return {role: _tokens(plan, run_dir, role, tokenizer, events) for role in roles}


def _tokens(plan: TrainPlan, run_dir: Path, role: str, tokenizer: PreTrainedTokenizerBase, events: Events) -> Tokens:
    """Return the tokens of a role, with one pair per reference of each dialogue."""
    recipe = plan.recipe
    template = template_text(recipe.prompt_template)
    encoder = PromptEncoder(tokenizer, template, recipe.sequence_len, recipe.long_dialogues)
    tokens = tokens_of(run_dir / DATA_FILES[role], encoder, recipe.target_len, run_dir / TOKENS, events)
    dialogues, cut, pairs = len(tokens.prompts), tokens.truncated, tokens.pairs
    if not pairs:
        others = "" if role == "train" else ", or remove val_set_size or val_datasets"
        why = (
            f", of which {cut} exceed sequence_len {recipe.sequence_len} and are left out by `long_dialogues: drop`); "
            f"raise sequence_len or use `long_dialogues: truncate_end`{others}"
            if cut
            else f"); see {run_dir / DATA_FILES[role]}"
        )
        raise DataError(f"{role}: no dialogue is left (got {dialogues}{why}")
    if cut:
        done = "left out" if recipe.long_dialogues == "drop" else "cut"
        events.warn(f"{role}: {cut} of {dialogues} dialogues exceed sequence_len {recipe.sequence_len} and are {done}")
    if tokens.cut_targets:
        events.warn(
            f"{role}: {tokens.cut_targets} of {len(pairs)} summaries exceed target_len {recipe.target_len} and are cut"
        )
    tell_losses(role, tokens.lost, events)
    return tokens
