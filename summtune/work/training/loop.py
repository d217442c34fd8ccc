"""The training loop: what happens to a global batch, on every layout of processes, for all weights and for adapters.

`train` builds everything from the plan; `Loop` trains. The order of the modules next to this one is that of their use:
examples, layout, batches, loss, optimizer, resuming, checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, set_seed
from peft import PeftModel
from transformers import PreTrainedModel

from summtune.base.errors import StageError
from summtune.base.files import write_json
from summtune.base.numbers import counted
from summtune.base.places import BUILTIN_MODELS
from summtune.plan.plan import TrainPlan
from summtune.runs import checkpoints
from summtune.runs.events import Events
from summtune.runs.statistics import TRAINING_FILE, Precision, Training, TrainLogRow
from summtune.work.generation.decoding import generation_config
from summtune.work.models.adapters import add_adapter, train_quantized
from summtune.work.models.changed_weights import unchanged_weights
from summtune.work.models.families import family_of_model
from summtune.work.models.loading import count_parameters, load_model, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.models.on_cpu import quicken
from summtune.work.models.saved_model import ModelWriter, freeze_computed, on_first_rank
from summtune.work.process import operators
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.process.preflight import Company
from summtune.work.process.stopping import Stopped, StopRequest
from summtune.work.tokens.loss_warnings import loss_warnings
from summtune.work.tokens.pairs import Pairs
from summtune.work.training.batches import GlobalBatches, share_of
from summtune.work.training.checkpoint import (
    TrainingState,
    load_optimizer,
    load_random_state,
    load_weights,
    write_checkpoint,
)
from summtune.work.training.examples import read_examples
from summtune.work.training.layout import accelerator_of
from summtune.work.training.loss import TokenLoss
from summtune.work.training.optimizer import optimizer_of, schedule_of, set_learning_rate
from summtune.work.training.resuming import layout_of, resume_point
from summtune.work.training.saving_trial import try_saving
from summtune.work.training.step_guard import StepGuard, broken
from summtune.work.training.trackers import Trackers
from summtune.work.training.train_log import Stopwatch, TrainLog


def train(plan: TrainPlan, run_dir: Path, events: Events, stop: StopRequest, company: Company | None = None) -> None:
    """Train as planned and write ``model/``, ``train_log.jsonl`` and ``training.json``.

    Args:
        plan: of the run.
        run_dir: holds the data that the command prepared.
        events: to the waiting command.
        stop: records a signal that asks to stop; a checkpoint is written first.
        company: all ranks, if there are several.

    Raises:
        StageError: the loss is not a number, or the model could not be saved.
        Stopped: a signal asked to stop, and a checkpoint is written.
        ModelError, DataError: the model or the data cannot be used.
    """
    started = time.perf_counter()
    recipe, launch = plan.recipe, plan.train
    check_device(launch.device)
    bf16 = use_bf16(recipe.bf16, launch.device)
    precision: Precision = "bf16" if bf16 else "fp32"

    tokenizer = load_tokenizer(Path(plan.model.folder))
    needs = check_model(Path(plan.model.folder), tokenizer, recipe)
    examples = read_examples(plan, run_dir, tokenizer, events)

    if plan.deepspeed is not None:
        operators.free_locks(events.say)
        operators.prepare(plan, events)
    accelerator = accelerator_of(plan, bf16)
    if company is not None:
        took = company.reduce_once(accelerator.device)
        events.say(f"{company}; all-reduce in {1000 * took:.0f} ms")

    model = _model(plan, bf16, events)
    family = family_of_model(model)
    trainable, total = count_parameters(model)
    events.say(f"training {trainable:,} of {total:,} parameters ({100 * trainable / total:.2f} %)")

    train_set = Pairs(examples["train"].pairs, plan.batch.global_batch, needs.end, family.example)
    batches = GlobalBatches(train_set, plan.batch.global_batch, recipe.seed, recipe.group_by_length)
    steps = recipe.max_steps or math.ceil(recipe.num_epochs * batches.steps_per_epoch)
    _warn_of_missing_evaluation(recipe.eval_steps, steps, events)
    at_once = recipe.micro_batch_size * launch.processes
    evaluated = examples.get("validation")
    eval_set = Pairs(evaluated.pairs, at_once, needs.end, family.example) if evaluated else None

    start = resume_point(run_dir, launch, precision, events)
    if start is not None:
        load_weights(start.checkpoint, model)
    writer = ModelWriter(accelerator, model, tokenizer)
    token_loss = TokenLoss(model, accelerator.device, compiled=recipe.torch_compile)
    model, optimizer = accelerator.prepare(model, optimizer_of(model, recipe))
    state = start.state if start else TrainingState()
    set_seed(recipe.seed, device_specific=True)  # of dropout
    if start is not None:
        load_optimizer(start.checkpoint, accelerator, model, optimizer)
        load_random_state(start.checkpoint, accelerator)
    try_saving(writer, run_dir)

    loop = Loop(
        plan=plan,
        run_dir=run_dir,
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        learning_rate=schedule_of(recipe, steps),
        collate=family.collator(writer.model, needs, 8 if launch.device == "cuda" else 1),
        token_loss=token_loss,
        train_set=train_set,
        eval_set=eval_set,
        batches=batches,
        steps=steps,
        state=state,
        layout=layout_of(launch, precision),
        guard=StepGuard(stop, company.group if company else None),
        events=events,
        trackers=Trackers(plan, run_dir, accelerator, state.step),
        started=started,
        begun_at=state,
    )
    stop.hold()
    loop.run()
    writer.save(model, run_dir)
    if accelerator.is_main_process:
        weights = unchanged_weights(run_dir / "model", Path(plan.model.folder))
        done = loop.state
        write_json(
            run_dir / TRAINING_FILE,
            Training(
                trainable_parameters=trainable,
                total_parameters=total,
                pairs=batches.real,
                steps=done.step,
                epochs=loop.epoch,
                eval_loss=done.best_loss,
                best_step=done.best_step,
                train_loss=loop.log.mean_loss(),
                resumed_from_step=start.state.step if start else None,
                **loop.spent(),
                processes=accelerator.num_processes,
                precision=precision,
                unchanged_tensors=weights["unchanged_tensors"],
                compared_tensors=weights["compared_tensors"],
                lost_text={role: each.lost for role, each in examples.items()},
                warnings=tuple(text for role, each in examples.items() for text in loss_warnings(role, each.lost)),
            ).to_json(),
        )
    # The same processes predict next, and all of them read training.json.
    accelerator.wait_for_everyone()


def _model(plan: TrainPlan, bf16: bool, events: Events) -> PreTrainedModel | PeftModel:
    """Return the model to train, with its adapter."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)  # the adapter's random weights
    # Frozen weights need no more precision than the computation; peft keeps the adapter's weights in fp32.
    dtype = torch.bfloat16 if plan.adapter is not None and bf16 else torch.float32
    model: PreTrainedModel | PeftModel = load_model(Path(plan.model.folder), dtype, plan.quantization)
    if plan.train.device == "cpu" and not recipe.torch_compile:
        quicken(model, "training", events.say)
    # The settings of the predict stage are saved with the model; generation settings of the base are not.
    model.generation_config = generation_config(model, recipe.generation)
    freeze_computed(model)
    if plan.adapter is not None:
        # Only summtune knows the names of bundled models, so peft gets the folder.
        bundled = plan.model.base_model in BUILTIN_MODELS
        base_model = plan.model.folder if bundled else plan.model.base_model
        if plan.quantization is not None:
            model = train_quantized(model, recipe.gradient_checkpointing)
        model = add_adapter(model, plan.adapter, base_model, plan.model.revision)
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.config.use_cache = False
    note = family_of_model(model).note(model)
    if note is not None:
        events.say(note)
    return model


def _warn_of_missing_evaluation(every: int | None, steps: int, events: Events) -> None:
    if every is not None and every > steps:
        events.warn(f"eval_steps {every} is never reached in {steps} steps, so no best checkpoint is chosen")


class Due(NamedTuple):
    """What follows a step."""

    log: bool
    evaluation: bool
    checkpoint: bool


@dataclass
class Loop:
    """A training that is under way.

    Args:
        plan: of the run.
        run_dir: for checkpoints and the log.
        accelerator: of the processes that train.
        model: as accelerate wraps it.
        optimizer: as accelerate wraps it.
        learning_rate: of the step that follows so many.
        collate: makes a micro batch of pairs.
        token_loss: of a micro batch.
        train_set: the pairs that are trained on.
        eval_set: the pairs that are evaluated; None without validation data.
        batches: the pairs of each optimizer step.
        steps: optimizer steps of the whole training.
        state: where the training is.
        layout: for the manifests of checkpoints.
        guard: checks each step, and whether to stop.
        events: to the waiting command.
        trackers: that the recipe names.
        started: when this process began to train, by `time.perf_counter`.
        begun_at: the state that this process began with.
    """

    plan: TrainPlan
    run_dir: Path
    accelerator: Accelerator
    model: Any
    optimizer: Any
    learning_rate: Callable[[int], float]
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]]
    token_loss: TokenLoss
    train_set: Pairs
    eval_set: Pairs | None
    batches: GlobalBatches
    steps: int
    state: TrainingState
    layout: dict[str, Any]
    guard: StepGuard
    events: Events
    trackers: Trackers
    started: float
    begun_at: TrainingState

    def __post_init__(self) -> None:
        self.recipe = self.plan.recipe
        self.first = self.accelerator.is_main_process
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        self.folder = self.run_dir / "checkpoints"
        self.log = TrainLog(self.run_dir / "train_log.jsonl")
        self.stopwatch = Stopwatch()
        self.pending_loss = self._pending_loss()
        self.latest = ""

    def run(self) -> None:
        """Train until the last step, the end of patience, or a request to stop.

        Raises:
            Stopped: a signal asked to stop, and a checkpoint is written.
            StageError: a number is not finite, or a checkpoint cannot be written.
        """
        if self.first:
            self.log.rewind(self.state.step)
        self.model.train()
        self.stopwatch.restart()
        while not self.state.ended:
            step = self.state.step + 1
            due = self._due(step)

            rate = self.learning_rate(step - 1)
            set_learning_rate(self.optimizer, rate)  # first, because DeepSpeed takes its step in the backward pass
            pairs = self.batches[step - 1]
            loss = self._forward_and_backward(pairs)
            grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm or math.inf)
            stops = self.guard.look(step, loss, grad_norm, at_once=any(due))
            self.optimizer.step()  # of DeepSpeed: does nothing
            self.optimizer.zero_grad()

            self.pending_loss += loss
            self.stopwatch.count(len(pairs), self.batches.tokens(pairs))
            self._set(step=step, ended=step == self.steps)
            self.events.progress(step, self.steps, self.latest)
            if due.log:
                self._log(grad_norm, rate)
            improved = self._evaluate() if due.evaluation else False
            if due.checkpoint or improved or stops:
                self._save()
            if stops and not self.state.ended:
                raise Stopped(f"checkpoint-{step} is written; the processes end as asked")
        self._take_best()
        self.trackers.finish()

    def _due(self, step: int) -> Due:
        """Return what follows a step, apart from what only its result decides."""
        recipe, last = self.recipe, step == self.steps
        ends_epoch = last or step % self.batches.steps_per_epoch == 0
        save_steps = recipe.save_steps or recipe.eval_steps
        return Due(
            log=last or step % recipe.logging_steps == 0,
            evaluation=self.eval_set is not None
            and (step % recipe.eval_steps == 0 if recipe.eval_steps else ends_epoch),
            checkpoint=last or (step % save_steps == 0 if save_steps else ends_epoch),
        )

    def _forward_and_backward(self, pairs: Sequence[int]) -> torch.Tensor:
        """Compute the gradient of a global batch, and return this rank's share of its loss.

        The loss is the cross-entropy summed over the target tokens, divided by the target tokens of the *global* batch.
        A mean over micro batches would depend on how the batch is divided.
        """
        target_tokens = self.batches.target_tokens(pairs)
        micro_batches = share_of(pairs, self.recipe.micro_batch_size, self.rank, self.ranks)
        loss = torch.zeros((), device=self.accelerator.device)
        for place, micro_batch in enumerate(micro_batches, start=1):
            with self._gradients_of(last=place == len(micro_batches)):
                batch = self.collate([self.train_set[index] for index in micro_batch])
                share = self.token_loss(self.model, batch) / target_tokens
                # DDP and DeepSpeed take the mean over the ranks. DeepSpeed would also divide by the micro batches.
                options = {"scale_wrt_gas": False} if self.deepspeed else {}
                self.accelerator.backward(share * self.ranks, **options)
            loss += share.detach()
        return loss

    def _gradients_of(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Let the ranks exchange gradients, and DeepSpeed take its step, only with the last micro batch."""
        self.accelerator.sync_gradients = last
        return contextlib.nullcontext() if last or self.deepspeed else self.accelerator.no_sync(self.model)

    def _log(self, grad_norm: Any, rate: float) -> None:
        """Write a line of the log: the mean loss of the steps since the line before."""
        step, since = self.state.step, self.state.logged_step
        loss = float(self.accelerator.reduce(self.pending_loss, "sum")) / (step - since)
        self.pending_loss = torch.zeros_like(self.pending_loss)
        self._set(logged_step=step)
        norm = math.nan if grad_norm is None else float(grad_norm)
        self.latest = f"loss {loss:.3f}"
        if self.first:
            row = TrainLogRow(
                step=step,
                epoch=self.epoch,
                loss=loss,
                grad_norm=norm if math.isfinite(norm) else None,
                learning_rate=rate,
                peak_memory_bytes=peak_memory_bytes(),
                **self.stopwatch.rates(),
            )
            self.log.append(row)
            shown = ("loss", "grad_norm", "learning_rate", "epoch", "samples_per_second", "tokens_per_second")
            self.trackers.log({f"train/{name}": getattr(row, name) for name in shown}, step)
        self.stopwatch.restart()

    def _evaluate(self) -> bool:
        """Evaluate the model, count the patience, and return whether no evaluation before was as good.

        The loss is the mean over all target tokens of the validation data, in batches of similar length.
        """
        eval_set = self.eval_set
        assert eval_set is not None, "an evaluation is due only with validation data"
        with self.stopwatch.paused():
            by_length = sorted(range(len(eval_set)), key=lambda index: -len(eval_set[index]["input_ids"]))
            summed = torch.zeros((), device=self.accelerator.device)
            self.model.eval()
            with torch.no_grad():
                for micro_batch in share_of(by_length, self.recipe.micro_batch_size, self.rank, self.ranks):
                    batch = self.collate([eval_set[index] for index in micro_batch])
                    summed += self.token_loss(self.model, batch)
            self.model.train()
            loss = float(self.accelerator.reduce(summed, "sum")) / eval_set.target_tokens
        step = self.state.step
        if not math.isfinite(loss):
            raise broken("the evaluation loss", loss, step)
        if self.first:
            self.log.append(TrainLogRow(step=step, epoch=self.epoch, eval_loss=loss))
            self.trackers.log({"eval/loss": loss, "train/epoch": self.epoch}, step)
        improved = self.state.best_loss is None or loss < self.state.best_loss
        if improved:
            self._set(best_step=step, best_loss=loss, evaluations_since_best=0)
        else:
            self._set(evaluations_since_best=self.state.evaluations_since_best + 1)
            patience = self.recipe.early_stopping_patience
            if patience is not None and self.state.evaluations_since_best >= patience and not self.state.ended:
                lacking = f"no better validation loss in {counted(patience, 'evaluation')}"
                self.events.say(f"stopped early at step {step} of {self.steps}: {lacking}")
                self._set(ended=True)
        return improved

    def _save(self) -> None:
        """Write a checkpoint of this step, and delete those that are no longer needed."""
        with self.stopwatch.paused():
            step = self.state.step
            self.guard.check_weights(step, self.model)
            pending = self.accelerator.gather(self.pending_loss.reshape(1)).tolist()
            with checkpoints.written(self.folder, step, first=self.first) as folder:
                self.accelerator.wait_for_everyone()
                self._set(pending_losses=tuple(pending), **self.spent())
                write_checkpoint(folder, self.accelerator, self.model, self.optimizer, self.state)
                self.accelerator.wait_for_everyone()
                if self.first:
                    checkpoints.write_manifest(folder, self.layout)
            if self.first:  # only now: the new checkpoint is complete, even if this fails
                checkpoints.rotate(self.folder, step, self.recipe.save_total_limit, self.state.best_step)
            self.accelerator.wait_for_everyone()

    def _take_best(self) -> None:
        """Give the model the weights of the best evaluation.

        Raises:
            StageError: its checkpoint is damaged.
        """
        best = self.state.best_step
        if best is None or best == self.state.step:
            return
        folder = checkpoints.path_of(self.folder, best)

        def check() -> None:
            reason = checkpoints.damage(folder)
            if reason is not None:
                raise StageError(
                    f"the best checkpoint is damaged (got {folder.name}: {reason}); the same command finishes without "
                    "it, with the weights of the last one"
                )

        on_first_rank(check)
        load_weights(folder, self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return round(self.state.step / self.batches.steps_per_epoch, 4)

    def spent(self) -> dict[str, Any]:
        """Return the time and memory that the training has taken over all its sessions."""
        now, before = time.perf_counter() - self.started, self.begun_at
        return {
            "seconds": round(before.seconds + now, 2),
            "device_seconds": round(before.device_seconds + now * self.ranks, 2),
            "peak_memory_bytes": max(before.peak_memory_bytes, peak_memory_bytes()),
        }

    def _pending_loss(self) -> torch.Tensor:
        """Return this rank's losses since the last line of the log, as they were when the checkpoint was written."""
        pending = self.state.pending_losses
        if len(pending) != self.ranks:  # written by another number of processes: only the sum matters
            pending = (sum(pending), *[0.0] * (self.ranks - 1))
        return torch.tensor(pending[self.rank], dtype=torch.float32, device=self.accelerator.device)

    def _set(self, **values: Any) -> None:
        self.state = self.state.model_copy(update=values)
