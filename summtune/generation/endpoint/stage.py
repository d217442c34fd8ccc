"""The predict stage of a model behind a server: the test dialogues' prompts are sent, the answers are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from summtune.generation.endpoint.requests import Requests
from summtune.recipe.endpoint import Endpoint
from summtune.recipe.sections import Generation
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

    Raises:
        InputError: the package openai is not installed, or the key cannot be used.
        StageError: the server cannot or does not answer, or max_cost is reached. The answers are kept.
    """
    raise NotImplementedError
