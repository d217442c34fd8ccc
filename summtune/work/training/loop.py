"""The training loop: what happens to a global batch, on every layout of processes, for all weights and for adapters.

`train` is the stage. `Training` builds everything from the plan, in the order in which it is needed, and then takes one
optimizer step after another. The modules next to this one hold what a step calls: batches, loss, optimizer, checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType, set_seed

from summtune.base.errors import StageError
from summtune.base.files import write_json
from summtune.base.numbers import counted
from summtune.plan.plan import TrainPlan
from summtune.prompts.formats import ChatFormat
from summtune.runs import checkpoints
from summtune.runs.events import Events
from summtune.runs.statistics import Precision, TrainLogRow
from summtune.runs.supervision import SUPERVISION_FILE, described
from summtune.work.models.families import family_of_model
from summtune.work.models.family import ModelFamily
from summtune.work.models.loading import count_parameters, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.models.saved_model import ModelWriter, on_first_rank
from summtune.work.process import operators
from summtune.work.process.freed_memory import return_freed_memory
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.process.preflight import Company
from summtune.work.process.stopping import Stopped, StopRequest
from summtune.work.supervision.proof import Proof
from summtune.work.tokens.completions import all_ends
from summtune.work.tokens.pairs import Pairs
from summtune.work.tokens.planned import encoder_of
from summtune.work.training.batches import GlobalBatches, share_of
from summtune.work.training.checkpoint import (
    TrainingState,
    load_optimizer,
    load_random_state,
    load_weights,
    write_checkpoint,
)
from summtune.work.training.layout import accelerator_of
from summtune.work.training.loss import TokenLoss
from summtune.work.training.model import model_to_train
from summtune.work.training.optimizer import optimizer_of, schedule_of, set_learning_rate
from summtune.work.training.result import write_training
from summtune.work.training.resuming import layout_of, resume_point
from summtune.work.training.saving_trial import try_saving
from summtune.work.training.step_guard import StepGuard, broken
from summtune.work.training.trackers import Trackers
from summtune.work.training.train_log import Stopwatch, TrainLog

_STEPS_WITH_FREED_MEMORY = 4
"""Optimizer steps on a CPU after which freed memory is returned: after each one, a step would take longer."""


def train(plan: TrainPlan, run_dir: Path, events: Events, stop: StopRequest, company: Company | None = None) -> None:
    """Train as planned and write ``model/``, ``train_log.jsonl`` and ``training.json``.

    Args:
        plan: of the run.
        run_dir: holds the data that the command prepared.
        events: to the waiting command.
        stop: records a signal that asks to stop; a checkpoint is written first.
        company: all ranks, if there are several.

    Raises:
        StageError: a number is not finite, or the model or a checkpoint cannot be saved.
        Stopped: a signal asked to stop, and a checkpoint is written.
        ModelError, DataError: the model or the data cannot be used.
    """
    training = Training(plan, run_dir, events, stop, company)
    stop.hold()
    training.run()
    training.finish()


class Due(NamedTuple):
    """What follows a step."""

    log: bool
    evaluation: bool
    checkpoint: bool


class Training:
    """A training, from its model and data to ``model/``; see `train` for the arguments.

    Its ``state`` says where it is, and is what a checkpoint holds besides tensors.
    """

    def __init__(
        self, plan: TrainPlan, run_dir: Path, events: Events, stop: StopRequest, company: Company | None
    ) -> None:
        self._started = time.perf_counter()
        self.plan, self.recipe, self.run_dir, self.events = plan, plan.recipe, run_dir, events
        check_device(plan.train.device)
        bf16 = use_bf16(self.recipe.bf16, plan.train.device)
        self.precision: Precision = "bf16" if bf16 else "fp32"

        base = Path(plan.model.folder)
        tokenizer = load_tokenizer(base)
        # Saved with the model: whoever serves it prompts it as it was trained.
        tokenizer.chat_template = plan.prompt.chat_template if isinstance(plan.prompt, ChatFormat) else None
        needs = check_model(base, tokenizer, self.recipe)
        ends = all_ends(encoder_of(plan, tokenizer), needs.ends)
        self.proof = Proof.of(plan, run_dir, tokenizer, ends, events).check()

        # The processes. Under ZeRO-3 they come before the model, whose weights are sharded as they are loaded.
        if plan.deepspeed is not None:
            operators.free_locks(events.say)
        self.accelerator = accelerator = accelerator_of(plan, bf16)
        self.deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
        self.rank, self.ranks, self.first = (
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.is_main_process,
        )
        if company is not None:
            took = company.reduce_once(accelerator.device)
            events.say(f"{company}; all-reduce in {1000 * took:.0f} ms")
        operators.prepare(plan, events)

        model = model_to_train(plan, bf16, ends, events)
        family = family_of_model(model)
        self.parameters = trainable, total = count_parameters(model)
        events.say(f"training {trainable:,} of {total:,} parameters ({100 * trainable / total:.2f} %)")
        self.writer = ModelWriter(accelerator, model, tokenizer)

        self.collate = family.collator(model, needs, 8 if accelerator.device.type == "cuda" else 1)
        self._record_supervision(family)
        self._divide_data(ends[0], family)

        # The state: of a checkpoint of any layout, or of the start.
        self.layout = layout_of(plan.train, self.precision)
        start = resume_point(run_dir, self.layout, events)
        self.state = self.begun_at = start.state if start else TrainingState()
        if start is not None:
            load_weights(start.checkpoint, model)
        self.token_loss = TokenLoss(model, accelerator.device, compiled=self.recipe.torch_compile)
        self.model, self.optimizer = accelerator.prepare(model, optimizer_of(model, self.recipe))
        self.learning_rate = schedule_of(self.recipe, self.steps)
        set_seed(self.recipe.seed, device_specific=True)  # of dropout
        if start is not None:
            load_optimizer(start.checkpoint, accelerator, model, self.optimizer)
            load_random_state(start.checkpoint, accelerator)
        try_saving(self.writer, run_dir)

        self.folder = run_dir / "checkpoints"
        self.guard = StepGuard(stop, company.group if company else None, None if start else plan.pause_after)
        self.log = TrainLog(run_dir / "train_log.jsonl")
        if self.first:
            self.log.rewind(self.state.step)
        self.trackers = Trackers(plan, run_dir, accelerator, self.state.step)
        self.stopwatch = Stopwatch()
        self.pending_loss = self._pending_loss()
        self.latest = ""

    def _divide_data(self, end: int, family: ModelFamily) -> None:
        """Divide the pairs into global batches, the same on every layout, and count the optimizer steps."""
        size, at_once = self.plan.batch.global_batch, self.recipe.micro_batch_size * self.ranks
        self.train_set = Pairs(self.proof.examples["train"].pairs, size, end, family.example)
        held_out = self.proof.examples.get("validation")
        self.eval_set = Pairs(held_out.pairs, at_once, end, family.example) if held_out else None
        self.batches = GlobalBatches(self.train_set, size, self.recipe.seed, self.recipe.group_by_length)
        self.steps = self.recipe.max_steps or math.ceil(self.recipe.num_epochs * self.batches.steps_per_epoch)
        every = self.recipe.eval_steps
        if every is not None and every > self.steps:
            self.events.warn(
                f"eval_steps {every} is never reached in {self.steps} steps, so no best checkpoint is chosen"
            )

    def _record_supervision(self, family: ModelFamily) -> None:
        """Check the batches of all examples, and write what was checked."""
        supervision = self.proof.check_batches(family, self.collate)
        self.events.say(described(supervision))
        if self.first:
            write_json(self.run_dir / SUPERVISION_FILE, supervision.to_json())

    def run(self) -> None:
        """Train until the last step, the end of patience, or a request to stop.

        Raises:
            Stopped: a signal asked to stop, and a checkpoint is written.
            StageError: a number is not finite, or a checkpoint cannot be written.
        """
        self.model.train()
        self.stopwatch.restart()
        while not self.state.ended:
            step = self.state.step + 1
            due = self._due(step)

            rate = self.learning_rate(step - 1)
            set_learning_rate(self.optimizer, rate)  # first, because DeepSpeed takes its step in the backward pass
            pairs = self.batches[step - 1]
            loss = self._forward_and_backward(pairs)
            grad_norm = self._clip()
            stops = self.guard.look(step, loss, grad_norm, at_once=any(due))
            self.optimizer.step()  # of DeepSpeed: does nothing
            self.optimizer.zero_grad()
            if self.plan.train.device == "cpu" and step % _STEPS_WITH_FREED_MEMORY == 0:
                return_freed_memory()

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

    def _due(self, step: int) -> Due:
        """Return what follows a step, apart from what only its result decides."""
        recipe, last = self.recipe, step == self.steps
        ends_epoch = last or step % self.batches.steps_per_epoch == 0
        save_steps = recipe.save_steps or recipe.eval_steps
        evaluates = step % recipe.eval_steps == 0 if recipe.eval_steps else ends_epoch
        return Due(
            log=last or step % recipe.logging_steps == 0,
            evaluation=evaluates and self.eval_set is not None,
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

    def _clip(self) -> Any:
        """Clip the gradient, and return the norm over all ranks that it had before."""
        if self.deepspeed:  # it has clipped in the backward pass of the last micro batch
            return self.model.get_global_grad_norm()
        return self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm or math.inf)

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
            self.trackers.log_step(row)
        self.stopwatch.restart()

    def _evaluate(self) -> bool:
        """Evaluate the model, count the patience, and return whether no evaluation before was as good.

        The loss is the mean over all target tokens of the validation data, in batches of similar length.
        """
        eval_set = self.eval_set
        assert eval_set is not None, "an evaluation is due only with validation data"
        with self.stopwatch.paused(), self.events.timed("evaluation"):
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
            row = TrainLogRow(step=step, epoch=self.epoch, eval_loss=loss)
            self.log.append(row)
            self.trackers.log_evaluation(row)
        if self.state.best_loss is None or loss < self.state.best_loss:
            self._set(best_step=step, best_loss=loss, evaluations_since_best=0)
            return True
        since, patience = self.state.evaluations_since_best + 1, self.recipe.early_stopping_patience
        self._set(evaluations_since_best=since)
        if patience is not None and since >= patience and not self.state.ended:
            lacking = f"no better validation loss in {counted(patience, 'evaluation')}"
            self.events.say(f"stopped early at step {step} of {self.steps}: {lacking}")
            self._set(ended=True)
        return False

    def _save(self) -> None:
        """Write a checkpoint of this step, and delete those that are no longer needed."""
        with self.stopwatch.paused(), self.events.timed("checkpoint"):
            step = self.state.step
            self.guard.check_weights(step, self.model)
            pending = self.accelerator.gather(self.pending_loss.reshape(1)).tolist()
            self._set(pending_losses=tuple(pending), **self.spent())
            with checkpoints.written(self.folder, step, first=self.first) as folder:
                self.accelerator.wait_for_everyone()
                write_checkpoint(folder, self.accelerator, self.writer.model, self.optimizer, self.state)
                self.accelerator.wait_for_everyone()
                if self.first:
                    checkpoints.write_manifest(folder, self.layout)
            if self.first:  # only now: the new checkpoint is complete, even if this fails
                checkpoints.rotate(self.folder, step, self.recipe.save_total_limit, self.state.best_step)
            self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Write ``model/``, with the weights of the best evaluation, and ``training.json``.

        Raises:
            StageError: the checkpoint of that evaluation is damaged, or the model cannot be saved.
        """
        best = self.state.best_step
        if best is not None and best != self.state.step:
            folder = checkpoints.path_of(self.folder, best)
            on_first_rank(lambda: _check_best(folder))
            load_weights(folder, self.writer.model)
        self.trackers.finish()
        self.writer.save(self.model, self.run_dir)
        if self.first:
            write_training(self)
        # The same processes predict next, and all of them read training.json.
        self.accelerator.wait_for_everyone()

    @property
    def epoch(self) -> float:
        """Passes over the training data so far."""
        return round(self.state.step / self.batches.steps_per_epoch, 4)

    def spent(self) -> dict[str, Any]:
        """Return the time and memory that the training has taken over all its sessions."""
        now, before = time.perf_counter() - self._started, self.begun_at
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


def _check_best(folder: Path) -> None:
    reason = checkpoints.damage(folder)
    if reason is not None:
        raise StageError(
            f"the best checkpoint is damaged (got {folder.name}: {reason}); the same command finishes without it, with "
            "the weights of the last one"
        )
