"""The predict stage of a model in this process: prompted, fully fine-tuned, or with an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from summtune.base.errors import StageError
from summtune.base.strict import read_model
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.resuming import World, generate_missing
from summtune.generation.stopwatch import Stopwatch
from summtune.plan.plan import LocalPlan, PromptPlan
from summtune.runs.events import Events
from summtune.runs.run_directory import PARTIAL_PREDICTIONS
from summtune.runs.statistics import TRAINING_FILE, PredictionStats, Training
from summtune.work.generation.decoding import generation_config, place
from summtune.work.generation.local import LocalGenerator
from summtune.work.generation.outcome import reasons, write_outcome
from summtune.work.generation.stop_texts import stops_of
from summtune.work.generation.validation import stopping_in_validation
from summtune.work.models.adapters import with_trained
from summtune.work.models.families import family_of_model
from summtune.work.models.loading import count_parameters, generation_settings_of, load_model, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.tokens.asked import asked_tokens
from summtune.work.tokens.completions import all_ends
from summtune.work.tokens.planned import encoder_of


def predict(plan: LocalPlan, run_dir: Path, events: Events) -> None:
    """Summarize the test dialogues and write ``predictions.jsonl`` and ``prediction_stats.json``.

    A trained model also gets the generation settings that are scored, as its ``generation_config.json``.

    Args:
        plan: of the run.
        run_dir: with the data as the command has read it, and the trained model where there is one.
        events: to the command that waits.

    Raises:
        StageError: the launcher started another number of processes than planned.
        DataError: a prompt without its dialogue exceeds sequence_len.
    """
    recipe, settings = plan.recipe, plan.recipe.generation
    launch = plan.predict
    stopwatch = Stopwatch(run_dir / PARTIAL_PREDICTIONS, launch.processes)
    check_device(launch.device)
    state = PartialState(cpu=launch.device == "cpu")
    if state.num_processes != launch.processes:
        raise StageError(
            f"the plan is for {launch.processes} processes (got {state.num_processes}); see the launcher's log"
        )
    tokenizer = load_tokenizer(Path(plan.model.folder))
    needs = check_model(Path(plan.model.folder), tokenizer, recipe)
    tokens = asked_tokens(plan, run_dir, tokenizer, events)
    bf16 = use_bf16(recipe.bf16, launch.device)
    model, trainable, total = _load(plan, run_dir, bf16, events.say)
    place(model, state.device, events.say)
    world = World(state.process_index, state.num_processes, state.wait_for_everyone)
    config = generation_config(model, settings, all_ends(encoder_of(plan, tokenizer), needs.ends))
    batch_size = settings.batch_size
    generator = LocalGenerator(model, tokenizer, config, batch_size, recipe.seed, world, stops_of(plan), reasons(plan))
    asked = DistinctPrompts[Sequence[int]].of(prompt.ids for prompt in tokens.prompts)

    def progress(done: int, total: int) -> None:
        events.progress(done, total)
        if state.is_main_process:
            stopwatch.keep()

    stopwatch.begin_generation()
    with events.timed("generation"):
        generate_missing(generator, asked, run_dir / PARTIAL_PREDICTIONS, progress, world)
    device_seconds = stopwatch.spent().device_seconds  # what follows is no part of using the model
    stopping = stopping_in_validation(plan, run_dir, tokenizer, generator, events, world)
    if state.is_main_process:
        stats = PredictionStats(
            trainable_parameters=trainable,
            total_parameters=total,
            processes=state.num_processes,
            precision="bf16" if bf16 else "fp32",
            global_attention=family_of_model(model).note(model),
            seconds=stopwatch.spent().seconds,
            device_seconds=device_seconds,
            peak_memory_bytes=peak_memory_bytes(),
            stopping=stopping,
        )
        write_outcome(plan, run_dir, tokens, asked, config, stats, events)
    state.wait_for_everyone()


def _load(plan: LocalPlan, run_dir: Path, bf16: bool, say: Callable[[str], None]) -> tuple[PreTrainedModel, int, int]:
    """Return the model that generates, and how many of its weights training changed and how many it has."""
    base = Path(plan.model.folder)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if isinstance(plan, PromptPlan):
        model = load_model(base, dtype, plan.quantization, say)
        return model.eval(), 0, count_parameters(model)[1]
    training = read_model(Training, run_dir / TRAINING_FILE)
    counts = training.trainable_parameters, training.total_parameters
    if plan.adapter is None:
        model = load_model(run_dir / "model", dtype)
        # That of model/ is what an earlier prediction left there.
        model.generation_config = generation_settings_of(base, model.config)
        return model.eval(), *counts
    quantization = plan.quantization
    model = load_model(base, dtype if quantization else torch.float32, quantization, say)
    adapted = with_trained(model, plan.adapter, run_dir / "model", quantization is not None, dtype)
    return adapted.eval(), *counts
