"""Extends transformers' Seq2SeqTrainer so that loss, order and checkpoints do not depend on the layout."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from summtune.base.errors import StageError
from summtune.base.files import write_json
from summtune.runs import checkpoints
from summtune.runs.events import Events
from summtune.runs.statistics import TrainLogRow
from summtune.work.cpu import kernels as cpu_kernels
from summtune.work.models.loading import without_aliases
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.stopping import Stopped
from summtune.work.tokens.pairs import IGNORED
from summtune.work.training.batches import GlobalBatchSampler
from summtune.work.training.resuming import RESUME_FILE, Start
from summtune.work.training.step_guard import StepGuard, broken
from summtune.work.training.target_tokens import TargetTokens
from summtune.work.training.train_log import TrainLog


def summed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy summed over the target tokens, a scalar in fp32.

    Args:
        logits: (batch, target, vocabulary), or (target tokens, vocabulary) with `TargetTokens`.
        labels: (batch, target), -100 for positions without a target token.
    """
    if logits.ndim == 2:
        return cpu_kernels.summed_cross_entropy(logits, labels[labels != IGNORED])
    return functional.cross_entropy(
        logits.float().view(-1, logits.shape[-1]), labels.view(-1), ignore_index=IGNORED, reduction="sum"
    )


def global_token_mean(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None
) -> torch.Tensor:
    """Return this micro batch's share of the mean cross-entropy over the target tokens of the *global* batch.

    The stock loss of T5 is the mean over each micro batch, and the Trainer adds these up as if they were shares: with
    accumulation 4 the loss is four times too large, and so are the gradients before clipping.

    Args:
        outputs: of the model, with logits as for `summed_cross_entropy`.
        labels: (batch, target).
        num_items_in_batch: target tokens of the global batch, over all processes and accumulation steps.
    """
    assert num_items_in_batch is not None, "the Trainer counts the target tokens of the global batch"
    return summed_cross_entropy(outputs["logits"], labels) / num_items_in_batch


class LayoutInvariantTrainer(Seq2SeqTrainer):
    """The trainer of every training recipe.

    Args:
        sampler: the global batches of each epoch.
        guard: checks each optimizer step.
        aliases: names of weights that are stored under another name.
        layout: what a resume must match, for the manifests.
        keep_checkpoints: number of complete checkpoints that are kept.
        evaluation_tokens: number of target tokens of the evaluation pairs; 0 without evaluation.
        start: the state to resume from; None for a new training.
        spent: returns time and memory that the training has taken over all its sessions, for the checkpoints.
        events: to the waiting command.
        targets: of the model, if logits are computed only for target tokens.
    """

    def __init__(
        self,
        *,
        sampler: GlobalBatchSampler,
        guard: StepGuard,
        aliases: set[str],
        layout: dict[str, Any],
        keep_checkpoints: int,
        evaluation_tokens: int,
        start: Start | None,
        spent: Callable[[], dict[str, float]],
        events: Events,
        targets: TargetTokens | None,
        **arguments: Any,
    ) -> None:
        super().__init__(compute_loss_func=global_token_mean, **arguments)
        self.sampler = sampler
        self.guard = guard
        self.aliases = aliases
        self.layout = layout
        self.keep_checkpoints = keep_checkpoints
        self.evaluation_tokens = evaluation_tokens
        self._start = start
        self._spent = spent
        self._events = events
        self.targets = targets
        self._last_look = 0
        self._stopping = False

    def _get_train_sampler(self, train_dataset: Any = None) -> GlobalBatchSampler:
        return self.sampler

    def _with_targets(self, labels: torch.Tensor) -> contextlib.AbstractContextManager[None]:
        return self.targets.of(labels) if self.targets else contextlib.nullcontext()

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *arguments: Any, **named: Any) -> Any:
        """Return the Trainer's loss, from the logits of only the target tokens where that is faster."""
        with self._with_targets(inputs["labels"]):
            return super().compute_loss(model, inputs, *arguments, **named)

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None, None]:
        """Return a loss whose mean over all evaluated pairs (fillers included) is the mean over all target tokens.

        The Trainer's own evaluation loss weights all batches equally, regardless of their number of tokens.
        """
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with torch.no_grad(), self.compute_loss_context_manager(), self._with_targets(labels):
            total = summed_cross_entropy(model(**inputs)["logits"], labels)
        assert self.eval_dataset is not None
        return total / len(labels) * len(self.eval_dataset) / self.evaluation_tokens, None, None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if state_dict is not None:
            state_dict = without_aliases(state_dict, self.aliases)
        if self.args.should_save:
            self.write_model(Path(output_dir or str(self.args.output_dir)), state_dict)

    def write_model(self, folder: Path, state_dict: dict[str, torch.Tensor] | None) -> None:
        """Write model or adapter, generation settings and tokenizer, without the Trainer's unneeded pickle.

        Args:
            folder: created if it does not exist.
            state_dict: the weights, each under one name; None for those of the model.
        """
        model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if isinstance(model, PeftModel):
            # The embeddings under an adapter are the base's: peft would store them again.
            model.save_pretrained(str(folder), state_dict=state_dict, save_embedding_layers=False)
            model.get_base_model().generation_config.save_pretrained(folder)
        else:
            model.save_pretrained(folder, state_dict=state_dict)
        assert self.processing_class is not None
        self.processing_class.save_pretrained(folder)

    def _resume_from(self, start: Start) -> None:
        """Restore what the Trainer does not save: the losses pending for the next log line, and the best checkpoint."""
        losses = start.pending_losses
        if losses:
            # On another number of processes, their mean, which is what the log shows.
            same = len(losses) == self.accelerator.num_processes
            mine = losses[self.accelerator.process_index] if same else statistics.fmean(losses)
            self._tr_loss = torch.tensor(mine, device=self.args.device)
            self._globalstep_last_logged = start.logged_step
        self.state.best_model_checkpoint = str(start.best) if start.best else None
        if start.best is None:
            self.state.best_metric = self.state.best_global_step = None

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._resume_from(start)
        # A run that ended between its last checkpoint and its model resumes there: the Trainer itself would train
        # another step, because it checks for the end only after a step.
        control = self.state.stateful_callbacks.get("TrainerControl", {})
        if control.get("args", {}).get("should_training_stop") and not self._last_look:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*arguments, **named)

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: torch.Tensor | float | None, *arguments: Any, **named: Any
    ) -> None:
        """Check each optimizer step (also called at the end of an epoch), and stop if asked to."""
        step, control = self.state.global_step, self.control
        last = step == self.state.max_steps
        ends_epoch = step * self.sampler.global_batch % len(self.sampler) == 0  # a second call may save it
        if step != self._last_look:
            self._last_look = step
            waits = control.should_log or control.should_evaluate or control.should_save or last or ends_epoch
            self._stopping = self.guard.look(step, tr_loss, grad_norm, at_once=waits)
        # After the last step the model itself is saved. An evaluation that is due at this step comes first, so that the
        # resumed run does not miss it; that of an epoch comes in a second call.
        awaits_evaluation = ends_epoch and self.args.eval_strategy == "epoch" and not control.should_evaluate
        stops_now = self._stopping and not last and not awaits_evaluation
        control.should_save = control.should_save or stops_now
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **named)
        if stops_now:
            raise Stopped(f"checkpoint-{step} is written; the processes end as asked")

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        reason = checkpoints.damage(best) if self.is_world_process_zero() else None
        if reason is not None:
            raise StageError(
                f"the best checkpoint is damaged (got {best.name}: {reason}); the same command finishes without it, "
                "with the weights of the last one"
            )
        self.accelerator.wait_for_everyone()
        super()._load_best_model()

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step, began = self.state.global_step, time.perf_counter()
        self.guard.check_weights(step, self.model)
        with checkpoints.written(Path(str(self.args.output_dir)), step, first=self.is_world_process_zero()) as folder:
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            self._write_resume_file(folder)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                checkpoints.write_manifest(folder, self.layout)
        if self.is_world_process_zero():  # only now: the new checkpoint is complete, even if this fails
            checkpoints.rotate(folder.parent, step, self.keep_checkpoints, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()
        self._events.took("checkpoint", time.perf_counter() - began)

    def _write_resume_file(self, folder: Path) -> None:
        """Write the loss of every rank summed since the last line of the log, and the time spent so far."""
        pending = self.accelerator.gather(self._tr_loss.detach().reshape(1)).tolist()
        if self.is_world_process_zero():
            kept = {"since_step": self._globalstep_last_logged, "losses": pending}
            write_json(folder / RESUME_FILE, kept | self._spent())


class Recorder(TrainerCallback):
    """Writes train_log.jsonl, reports progress and sets the sampler's epoch.

    Args:
        log: train_log.jsonl.
        events: to the waiting command.
        sampler: its epoch is set here, because a data loader that skips batches after a resume does not set it.
        first_step: where this process starts, 0 or the resumed step.
    """

    def __init__(self, log: TrainLog, events: Events, sampler: GlobalBatchSampler, first_step: int) -> None:
        self.log = log
        self.events = events
        self.sampler = sampler
        self.last_step = first_step
        self.last_time = time.perf_counter()
        self.latest = ""

    def on_train_begin(
        self, args: Seq2SeqTrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock of the first logged step."""
        self.last_time = time.perf_counter()

    def on_epoch_begin(
        self, args: Seq2SeqTrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Seed the order of the epoch that begins."""
        self.sampler.set_epoch(state.global_step // (len(self.sampler) // self.sampler.global_batch))

    def on_step_end(
        self, args: Seq2SeqTrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report progress; log the last step even if logging_steps would skip it."""
        self.events.progress(state.global_step, state.max_steps, self.latest)
        if state.global_step == state.max_steps:
            control.should_log = True

    def on_log(
        self,
        args: Seq2SeqTrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write one line, on the first rank."""
        logs = logs or {}
        if "loss" in logs:
            self.latest = f"loss {logs['loss']:.3f}"
            if state.is_world_process_zero:
                self.log.append(self._row(state, logs))
            self.last_step, self.last_time = state.global_step, time.perf_counter()
        elif "eval_loss" in logs:
            if not math.isfinite(logs["eval_loss"]):
                raise broken("the evaluation loss", logs["eval_loss"], state.global_step)
            if state.is_world_process_zero:
                epoch = round(state.epoch or 0.0, 4)
                self.log.append(TrainLogRow(step=state.global_step, epoch=epoch, eval_loss=logs["eval_loss"]))
            self.events.took("evaluation", logs["eval_runtime"])
            self.last_time = time.perf_counter()

    def _row(self, state: TrainerState, logs: dict[str, float]) -> TrainLogRow:
        seconds = max(time.perf_counter() - self.last_time, 1e-9)
        steps = state.global_step - self.last_step
        tokens = self.sampler.tokens_of_steps(self.last_step, state.global_step)
        norm = float(logs.get("grad_norm", math.nan))
        return TrainLogRow(
            step=state.global_step,
            epoch=round(state.epoch or 0.0, 4),
            loss=logs["loss"],
            grad_norm=norm if math.isfinite(norm) else None,
            learning_rate=logs["learning_rate"],
            samples_per_second=round(steps * self.sampler.global_batch / seconds, 3),
            tokens_per_second=round(tokens / seconds, 1),
            peak_memory_bytes=peak_memory_bytes(),
        )
