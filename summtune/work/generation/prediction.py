"""The predict stage: one batched generator for prompted and fine-tuned models and adapters."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import set_seed  # that of transformers lies beside the Trainer and brings peft
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from summtune.base.errors import StageError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.base.hashing import content_sha256
from summtune.plan.plan import RunPlan
from summtune.prompts.exemplars import choose_exemplars
from summtune.prompts.templates import template_text
from summtune.runs.events import Events
from summtune.runs.records import Dialogue, Prediction
from summtune.runs.run_directory import DATA_FILES, PARTIAL_PREDICTIONS, TOKENS
from summtune.work.generation.decoding import Generated, generate, generation_config, place
from summtune.work.models.global_attention import GLOBAL_ATTENTION, takes_global_attention
from summtune.work.models.loading import count_parameters, load_adapter, load_model, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.process.peak_memory import peak_memory_bytes
from summtune.work.process.precision import check_device, use_bf16
from summtune.work.tokens.encoding import EncodedPrompt, PromptEncoder
from summtune.work.tokens.loss_warnings import loss_warnings, tell_losses
from summtune.work.tokens.tokens import Shown, Tokens, tokens_of


def predict(plan: RunPlan, run_dir: Path, events: Events) -> None:
    """Summarize the test dialogues and write ``predictions.jsonl`` and ``prediction_stats.json``.

    Every prompt is generated once, however many dialogues have it. Batches are the same on any number of processes;
    each finished one is appended to a file of its rank, so a killed run goes on with the batches that are missing.
    """
    started = time.perf_counter()
    recipe = plan.recipe
    launch = plan.predict
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
    prompts = tokens.prompts
    _warn_of_losses(tokens, recipe.sequence_len, events)
    bf16 = use_bf16(recipe.bf16, launch.device)
    model, trainable, total = _load(plan, run_dir, bf16)
    place(model, state.device, events.say)
    batches = make_batches(prompts, recipe.generation.batch_size)
    partial = run_dir / PARTIAL_PREDICTIONS
    partial.mkdir(exist_ok=True)
    with state.main_process_first():  # it mends what a kill cut short
        done = read_partial(partial)
    state.wait_for_everyone()  # nobody appends while another still reads
    mine = [
        (number, batch) for number, batch in enumerate(batches) if number % state.num_processes == state.process_index
    ]
    unique = sum(len(batch) for batch in batches)
    finished = len(done)
    config = generation_config(model, plan)
    with (partial / f"rank{state.process_index}.jsonl").open("a", encoding="utf-8") as file:
        for number, batch in mine:
            missing = [ids for ids in batch if key_of(ids) not in done]
            if missing:
                set_seed(recipe.seed + number)
                for ids, generated in zip(
                    batch, generate(model, tokenizer, [list(ids) for ids in batch], config), strict=True
                ):
                    file.write(json.dumps({"key": key_of(ids), **generated.__dict__}) + "\n")
                file.flush()
                finished += len(missing) * state.num_processes
            events.progress(min(finished, unique), unique)
    state.wait_for_everyone()
    if state.is_main_process:
        results = read_partial(partial)
        dialogues = (Dialogue.from_json(row) for row in read_jsonl(data))
        write_jsonl(run_dir / "predictions.jsonl", (p.to_json() for p in _joined(dialogues, prompts, results)))
        write_json(
            run_dir / "prediction_stats.json",
            {
                "dialogues": len(prompts),
                "unique_prompts": unique,
                "truncated": tokens.truncated,
                "trainable_parameters": trainable,
                "total_parameters": total,
                "exemplars": tokens.exemplars,
                "processes": state.num_processes,
                "precision": "bf16" if bf16 else "fp32",
                "global_attention": GLOBAL_ATTENTION if takes_global_attention(model) else None,
                "seconds": round(time.perf_counter() - started, 2),
                "peak_memory_bytes": peak_memory_bytes(),
                "lost_text": tokens.lost,
                "warnings": loss_warnings("test", tokens.lost),
            },
        )
        for leftover in partial.iterdir():
            leftover.unlink()
        partial.rmdir()
    state.wait_for_everyone()


def _warn_of_losses(tokens: Tokens, sequence_len: int, events: Events) -> None:
    """Warn of dialogues that are cut, and of text that the tokenizer cannot write."""
    if tokens.truncated:
        events.warn(
            f"{tokens.truncated} of {len(tokens.prompts)} dialogues exceed sequence_len {sequence_len} and are cut"
        )
    tell_losses("test", tokens.lost, events)


def make_batches(prompts: Iterable[EncodedPrompt], size: int) -> list[list[Sequence[int]]]:
    """Return the distinct prompts in batches of like length, the longest first: a lack of memory shows at once."""
    distinct = {key_of(prompt.ids): prompt.ids for prompt in prompts}
    ordered = sorted(distinct.values(), key=lambda ids: (-len(ids), ids))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def key_of(ids: Sequence[int]) -> str:
    """Return what a prompt is called in the partial files."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:24]


def read_partial(folder: Path) -> dict[str, Generated]:
    """Return what all ranks have generated so far; a line that a kill cut short is generated again."""
    done: dict[str, Generated] = {}
    for path in sorted(folder.glob("rank*.jsonl")):
        complete = 0
        with path.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    complete += len(line)
                    row: dict[str, Any] = json.loads(line)
                    key = row.pop("key")
                    done[key] = Generated(**row)
        if path.stat().st_size > complete:
            os.truncate(path, complete)
    return done


def _joined(
    dialogues: Iterable[Dialogue], prompts: Sequence[EncodedPrompt], results: dict[str, Generated]
) -> Iterable[Prediction]:
    for dialogue, prompt in zip(dialogues, prompts, strict=True):
        generated = results[key_of(prompt.ids)]
        yield Prediction(
            id=dialogue.id,
            dialogue=dialogue.dialogue,
            prediction=generated.text,
            references=dialogue.references,
            prompt_tokens=len(prompt.ids),
            new_tokens=generated.new_tokens,
            truncated=prompt.truncated,
            hit_length_cap=generated.hit_length_cap,
        )


def _exemplars(plan: RunPlan, run_dir: Path) -> Shown | None:
    recipe = plan.recipe
    if recipe.kind == "train" or recipe.shots == 0:
        return None
    chosen = recipe.exemplars
    pool_file = run_dir / DATA_FILES["exemplars"]

    def choose() -> list[tuple[Dialogue, ...]]:
        # Whole, because what may be shown depends on all dialogues that are summarized.
        pool, dialogues = (
            [Dialogue.from_json(row) for row in read_jsonl(path)] for path in (pool_file, run_dir / DATA_FILES["test"])
        )
        return choose_exemplars(pool, dialogues, recipe.shots, chosen.choose, chosen.ids or (), recipe.seed)

    return Shown([content_sha256(pool_file), recipe.shots, recipe.seed, chosen.model_dump(mode="json")], choose)


def _load(plan: RunPlan, run_dir: Path, bf16: bool) -> tuple[PreTrainedModel, int, int]:
    """Return the model that generates, and its trainable and total weights as trained."""
    recipe = plan.recipe
    base = Path(plan.model.folder)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if recipe.kind == "prompt":
        model = load_model(base, dtype)
        return model.eval(), 0, count_parameters(model)[1]
    trained = read_json(run_dir / "training.json")
    counts = trained["trainable_parameters"], trained["total_parameters"]
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
