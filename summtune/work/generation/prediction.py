"""The predict stage: one batched generator for prompted and fine-tuned models and adapters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from summtune.base.errors import StageError
from summtune.base.files import read_jsonl
from summtune.base.hashing import content_sha256
from summtune.base.strict import read_model
from summtune.generation.prompts import Prompts
from summtune.generation.results import write_results
from summtune.generation.resuming import World, generate_missing
from summtune.plan.plan import Plan
from summtune.prompts.exemplars import choose_exemplars
from summtune.prompts.templates import template_text
from summtune.runs.events import Events
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, PARTIAL_PREDICTIONS, TOKENS
from summtune.runs.statistics import TRAINING_FILE, LostText, PredictionStats, Training
from summtune.work.generation.decoding import generation_config, place
from summtune.work.generation.local import LocalGenerator
from summtune.work.models.global_attention import GLOBAL_ATTENTION, takes_global_attention
from summtune.work.models.loading import count_parameters, load_adapter, load_model, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.loss_warnings import loss_warnings, tell_losses
from summtune.work.tokens.tokens import Shown, Tokens, tokens_of


def predict(plan: Plan, run_dir: Path, events: Events) -> None:
    """Summarize the test dialogues and write ``predictions.jsonl`` and ``prediction_stats.json``.

    Every prompt is generated once, however many dialogues have it. Batches are the same on any number of processes;
    each finished one is appended to a file of its rank, so a killed run goes on with the batches that are missing.
    """
    started = time.perf_counter()
    recipe = plan.recipe
    launch = next(stage.launch for stage in plan.stages if stage.name == "predict")
    assert launch is not None
    assert plan.model is not None
    assert plan.model.folder is not None
    check_device(launch.device)
    state = PartialState(cpu=launch.device == "cpu")
    if state.num_processes != launch.processes:
        raise StageError(
            f"the plan is for {launch.processes} processes (got {state.num_processes}); see the launcher's log"
        )
    tokenizer = load_tokenizer(Path(plan.model.folder))
    check_model(Path(plan.model.folder), tokenizer, recipe)
    data = run_dir / DATA_FILES["test"]
    # Every test dialogue is summarized and scored: those that are too long to train on are cut here.
    cut_where = "truncate_end" if recipe.long_dialogues == "drop" else recipe.long_dialogues
    encoder = PromptEncoder(tokenizer, template_text(recipe.prompt_template), recipe.sequence_len, cut_where)
    tokens = tokens_of(data, encoder, None, run_dir / TOKENS, events, _exemplars(plan, run_dir))
    _warn_of_losses(tokens, recipe.sequence_len, events)
    bf16 = use_bf16(recipe.bf16, launch.device)
    model, trainable, total = _load(plan, run_dir, bf16)
    place(model, state.device, events.say)
    prompts = Prompts[Sequence[int]].of(prompt.ids for prompt in tokens.prompts)
    world = World(state.process_index, state.num_processes, state.wait_for_everyone)
    settings = recipe.generation
    config = generation_config(model, settings)
    generator = LocalGenerator(model, tokenizer, config, settings.batch_size, recipe.seed, world)
    generate_missing(generator, prompts, run_dir / PARTIAL_PREDICTIONS, events.progress, world)
    if state.is_main_process:
        stats = PredictionStats(
            dialogues=len(prompts.indices),
            unique_prompts=len(prompts.distinct),
            truncated=tokens.truncated,
            trainable_parameters=trainable,
            total_parameters=total,
            exemplars=tuple(tokens.exemplars),
            processes=state.num_processes,
            precision="bf16" if bf16 else "fp32",
            global_attention=GLOBAL_ATTENTION if takes_global_attention(model) else None,
            seconds=round(time.perf_counter() - started, 2),
            peak_memory_bytes=peak_memory_bytes(),
            lost_text=LostText.model_validate(tokens.lost, strict=False),
            warnings=tuple(loss_warnings("test", tokens.lost)),
        )
        write_results(run_dir, prompts, [prompt.truncated for prompt in tokens.prompts], stats)
    state.wait_for_everyone()


def _warn_of_losses(tokens: Tokens, sequence_len: int, events: Events) -> None:
    """Warn of dialogues that are cut, and of text that the tokenizer cannot write."""
    if tokens.truncated:
        events.warn(
            f"{tokens.truncated} of {len(tokens.prompts)} dialogues exceed sequence_len {sequence_len} and are cut"
        )
    tell_losses("test", tokens.lost, events)


def _exemplars(plan: Plan, run_dir: Path) -> Shown | None:
    recipe, chosen = plan.recipe, plan.recipe.exemplars
    if recipe.kind != "prompt" or recipe.shots == 0:
        return None
    pool_file = run_dir / DATA_FILES["exemplars"]

    def choose() -> list[tuple[Dialogue, ...]]:
        # Whole, because what may be shown depends on all dialogues that are summarized.
        pool, dialogues = (
            [Dialogue.from_json(row) for row in read_jsonl(path)] for path in (pool_file, run_dir / DATA_FILES["test"])
        )
        return choose_exemplars(pool, dialogues, recipe.shots, chosen.choose, chosen.ids or (), recipe.seed)

    return Shown([content_sha256(pool_file), recipe.shots, recipe.seed, chosen.model_dump(mode="json")], choose)


def _load(plan: Plan, run_dir: Path, bf16: bool) -> tuple[PreTrainedModel, int, int]:
    """Return the model that generates, and its trainable and total weights as trained."""
    recipe = plan.recipe
    assert plan.model is not None
    assert plan.model.folder is not None
    base = Path(plan.model.folder)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if recipe.kind == "prompt":
        model = load_model(base, dtype)
        return model.eval(), 0, count_parameters(model)[1]
    training = read_model(Training, run_dir / TRAINING_FILE)
    counts = training.trainable_parameters, training.total_parameters
    if recipe.adapter is None:
        return load_model(run_dir / "model", dtype).eval(), *counts
    quantize = recipe.adapter == "qlora"
    # Merged weights generate as fast as the base model does. They are merged in fp32: in bf16 most of a small update
    # rounds away, and in four bits all of it.
    model = load_model(base, dtype if quantize else torch.float32, quantize=quantize)
    saved = run_dir / "model"
    if (saved / GENERATION_CONFIG_NAME).is_file():  # older runs have none
        model.generation_config = GenerationConfig.from_pretrained(saved, local_files_only=True)
    adapted = load_adapter(model, saved)
    return (adapted if quantize else adapted.merge_and_unload().to(dtype)).eval(), *counts
