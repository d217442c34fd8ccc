"""The predict stage of a model behind a server: the test dialogues' prompts are sent, the answers are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from summtune.base.errors import StageError, os_error_text
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.endpoint.generator import EndpointGenerator
from summtune.generation.endpoint.ledger import ledger_in
from summtune.generation.endpoint.requests import Requests
from summtune.generation.endpoint.statistics import statistics_of, warnings_of
from summtune.generation.partial import mend, read_outputs
from summtune.generation.results import write_results
from summtune.generation.resuming import generate_missing
from summtune.generation.stopwatch import Stopwatch
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import Generation
from summtune.runs.run_directory import PARTIAL_PREDICTIONS
from summtune.runs.statistics import PredictionStats

P = TypeVar("P")


def predict(
    run_dir: Path,
    prompts: Sequence[P],
    requests: Requests[P],
    endpoint: Endpoint,
    generation: Generation,
    *,
    seed: int,
    key: str | None,
    stats: PredictionStats,
    progress: Callable[[int, int], None],
    warn: Callable[[str], None],
    stops: Sequence[str] = (),
    truncated: Sequence[bool] | None = None,
    backoff: float = 1.0,
) -> None:
    """Have a server answer the prompts, and write ``predictions.jsonl`` and ``prediction_stats.json``.

    Answers are kept as they come: the same call asks only for what is missing. Needs no torch.

    Args:
        run_dir: with the test dialogues.
        prompts: of the test dialogues, in their order.
        requests: how they are sent: `ChatRequests()` for messages, `TokenRequests()` for token ids.
        endpoint: the server, its limits and its price.
        generation: the settings; the server takes no beams.
        seed: of the run.
        key: the API key (`summtune.generation.endpoint.secrecy.read_key`); None where the server needs none.
        stats: what the caller knows of the stage: parameters, exemplars, processes. What is counted here is added.
        progress: called with the prompts that are answered and their total.
        warn: called with sentences that the user must know.
        stops: texts that end a summary.
        truncated: whether each dialogue was cut to fit its prompt; by default none was.
        backoff: seconds of the first wait after a fault, at most; each further one is up to twice as long.

    Raises:
        InputError: the package openai is not installed, or the key cannot be used.
        StageError: the server cannot or does not answer, max_cost is reached, or an answer cannot be written. The
            others are kept.
    """
    folder = run_dir / PARTIAL_PREDICTIONS
    stopwatch = Stopwatch(folder, devices=0)
    generator = EndpointGenerator(
        endpoint, generation, requests, seed=seed, key=key, stops=stops, folder=folder, say=warn, backoff=backoff
    )
    asked = DistinctPrompts.of(prompts)

    def answered(done: int, total: int) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone after SIGHUP, the answers are not
            progress(done, total)
        stopwatch.keep()

    try:
        generate_missing(generator, asked, folder, answered)
    except OSError as error:
        mend(folder)  # a full disk cuts a line
        raise StageError(
            f"{os_error_text(error)}. {len(read_outputs(folder)):,} of {len(asked.prompts):,} prompts are answered and "
            "kept: the same command asks for the rest"
        ) from error
    seconds = stopwatch.spent().seconds
    outputs = list(read_outputs(folder).values())
    with ledger_in(folder) as ledger:
        counts = statistics_of(outputs, ledger, endpoint)
    warnings = warnings_of(counts, outputs)
    cut = [False] * len(prompts) if truncated is None else truncated
    found = {
        "dialogues": len(asked.indices),
        "unique_prompts": len(asked.prompts),
        "truncated": sum(cut),
        "seconds": seconds,
        "endpoint": counts,
        "warnings": (*stats.warnings, *warnings),
    }
    for warning in (*warnings, *write_results(run_dir, asked, cut, stats.model_copy(update=found))):
        warn(warning)
