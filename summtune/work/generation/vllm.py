"""The predict stage of a model that vLLM serves: this process starts the server, asks it, and ends it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from summtune.base.errors import InputError, StageError
from summtune.base.strict import read_model
from summtune.generation.distinct import DistinctPrompts, key_of
from summtune.generation.endpoint.generator import EndpointGenerator
from summtune.generation.endpoint.requests import TokenRequests
from summtune.generation.generator import Outputs
from summtune.generation.resuming import generate_missing
from summtune.generation.stopwatch import Stopwatch
from summtune.generation.vllm.command import HOST, serve_command, served_by
from summtune.generation.vllm.executable import vllm_executable
from summtune.generation.vllm.server import Server, serving
from summtune.machine.devices import visible_gpus
from summtune.plan.plan import LocalPlan, PromptPlan, TrainPlan
from summtune.recipe.endpoint import Endpoint
from summtune.runs.events import Events
from summtune.runs.run_directory import PARTIAL_PREDICTIONS
from summtune.runs.statistics import TRAINING_FILE, Precision, PredictionStats, Training
from summtune.work.generation.decoding import begins_in_thought, settings_without_model
from summtune.work.generation.outcome import reasons, write_outcome
from summtune.work.generation.stop_texts import stops_of
from summtune.work.generation.validation import stopping_in_validation
from summtune.work.models.loading import generation_settings_of, load_config, load_tokenizer
from summtune.work.models.model_check import check_model
from summtune.work.process.precision import use_bf16
from summtune.work.tokens.asked import asked_tokens
from summtune.work.tokens.completions import all_ends
from summtune.work.tokens.planned import encoder_of

_IN_FLIGHT = 256
"""Requests at a time: what vLLM schedules together by default. Further ones would only wait there."""
TOP_K = 50
"""What transformers samples from where nothing else is set: the recipe has no key for it."""
_REQUEST_SECONDS = 3600.0
_RETRIES = 2
_DYING_SECONDS = 3.0
"""How long after a failed request the end of the server may become known."""


@dataclass(frozen=True)
class SampledRequests(TokenRequests):
    """Token ids, each with its own seed: a sample depends on nothing but its prompt and the seed of the run.

    Args:
        seed: of the run.
    """

    seed: int = 0

    def fields(self, prompt: Sequence[int]) -> dict[str, Any]:
        """Return the token ids and the seed."""
        return super().fields(prompt) | {"seed": int(key_of([self.seed, prompt])[:8], 16)}


@dataclass(frozen=True)
class VllmGenerator:
    """Has a server of this run answer prompts.

    Args:
        server: that runs.
        client: of the server.
    """

    server: Server
    client: EndpointGenerator[Sequence[int]]

    def generate(self, prompts: Sequence[Sequence[int]], done: Container[int] = ()) -> Outputs:
        """Yield the outputs of the prompts that are not done, in the order in which they come.

        Raises:
            StageError: the server has ended, or gives no answer.
        """
        try:
            with contextlib.closing(self.client.generate(prompts, done)) as outputs:
                for index, output in outputs:
                    # The server is a part of this run: there is nothing to know of who answered, or what it charges.
                    yield index, output.model_copy(update={"answer": None})
        except StageError as error:
            if self.server.has_ended(_DYING_SECONDS):
                raise self.server.failure("while it generated") from error
            problem = str(error).split("; ", 1)[0]
            raise StageError(f"vLLM: {problem}; see its log, {self.server.log}", str(self.server.log)) from error


def predict_with_vllm(plan: LocalPlan, run_dir: Path, events: Events) -> None:
    """Summarize the test dialogues; see `summtune.work.generation.prediction.predict`, whose files it writes.

    Args:
        plan: of the run.
        run_dir: with the data as the command has read it, and the trained model where there is one.
        events: to the command that waits.

    Raises:
        InputError: ``SUMMTUNE_VLLM`` does not name an executable.
        StageError: the server does not start, ends, or gives no answer.
        DataError: a prompt without its dialogue exceeds sequence_len.
    """
    devices, partial = plan.predict.devices_per_process, run_dir / PARTIAL_PREDICTIONS
    stopwatch = Stopwatch(partial, devices)
    executable = vllm_executable(os.environ)
    recipe, folder = plan.recipe, Path(plan.model.folder)
    tokenizer = load_tokenizer(folder)
    needs = check_model(folder, tokenizer, recipe)
    tokens = asked_tokens(plan, run_dir, tokenizer, events)
    ends = all_ends(encoder_of(plan, tokenizer), needs.ends)
    config = load_config(folder)
    settings = settings_without_model(generation_settings_of(folder, config), config, recipe.generation, ends)
    precision = _precision(plan)
    served = served_by(recipe, str(folder), run_dir / "model")
    asked = DistinctPrompts[Sequence[int]].of(prompt.ids for prompt in tokens.prompts)

    def command(port: str) -> list[str]:
        return serve_command(executable, recipe, served, precision=precision, devices=devices, port=port)

    def progress(done: int, total: int) -> None:
        events.progress(done, total)
        stopwatch.keep()

    with serving(command, served, run_dir / "logs" / "vllm.log", events.say) as server:
        version = server.version()
        generator = VllmGenerator(server, _client(plan, served.name, server, tokenizer, ends, events.say))
        stopwatch.begin_generation()
        with events.timed("generation"):
            generate_missing(generator, asked, partial, progress)
        device_seconds = stopwatch.spent().device_seconds  # what follows is no part of using the model
        stopping = stopping_in_validation(plan, run_dir, tokenizer, generator, events)
    trainable, total = _counts(plan, run_dir)
    stats = PredictionStats(
        engine="vLLM" if version is None else f"vLLM {version}",
        trainable_parameters=trainable,
        total_parameters=total,
        processes=devices,
        precision=precision,
        seconds=stopwatch.spent().seconds,
        device_seconds=device_seconds,
        stopping=stopping,
    )
    write_outcome(plan, run_dir, tokens, asked, settings, stats, events)


def _client(
    plan: LocalPlan,
    name: str,
    server: Server,
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    say: Callable[[str], None],
) -> EndpointGenerator[Sequence[int]]:
    """Return the client of a server, which ends and cuts summaries as the local generator does."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST)))
    recipe = plan.recipe

    def in_thought(ids: Sequence[int]) -> bool:
        return reasons(plan) and begins_in_thought(tokenizer, ids)

    sampled = recipe.generation.do_sample
    # The tokens that end a summary are those of the plan, not those that the server finds in the model's files.
    fields: dict[str, JsonValue] = {"stop_token_ids": list(ends), "ignore_eos": True, "seed": None}
    if sampled:
        fields["top_k"] = TOP_K
    return EndpointGenerator(
        endpoint=Endpoint(
            url=server.url,
            model=name,
            concurrency=_IN_FLIGHT,
            timeout=_REQUEST_SECONDS,
            max_retries=_RETRIES,
            extra_body=fields,
        ),
        generation=recipe.generation,
        requests=SampledRequests(in_thought, seed=recipe.seed) if sampled else TokenRequests(in_thought),
        seed=recipe.seed,
        key=server.key,
        stops=stops_of(plan),
        say=say,
    )


def _precision(plan: LocalPlan) -> Precision:
    """Return the precision of the weights. CUDA is not initialized, which would take memory that the server needs.

    Raises:
        StageError: the recipe asks for bf16, but the device does not support it.
        InputError: vLLM has no kernels for LoRA in fp32.
    """
    asked, device = plan.recipe.bf16, plan.predict.device
    has = all(gpu.capability >= (8, 0) for gpu in visible_gpus()) if device == "cuda" else None
    bf16 = use_bf16(asked, device, has)
    if not bf16 and device == "cuda" and isinstance(plan, TrainPlan) and plan.adapter is not None:
        raise InputError(
            "vLLM computes LoRA in bf16 on GPUs (got a GPU without bf16); remove generation.engine to generate with "
            "transformers"
        )
    return "bf16" if bf16 else "fp32"


def _counts(plan: LocalPlan, run_dir: Path) -> tuple[int, int | None]:
    """Return how many weights training could change, and how many there are."""
    if isinstance(plan, PromptPlan):
        return 0, None if plan.model.parameters is None else plan.model.parameters.total
    training = read_model(Training, run_dir / TRAINING_FILE)
    return training.trainable_parameters, training.total_parameters
