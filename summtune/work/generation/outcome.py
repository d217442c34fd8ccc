"""What the predict stage of a model on this machine writes at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import GenerationConfig

from summtune.base.files import write_text
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.results import write_results
from summtune.plan.plan import LocalPlan, PromptPlan, TrainPlan
from summtune.prompts.formats import ChatFormat
from summtune.runs.events import Events
from summtune.runs.run_directory import GENERATION_CONFIG
from summtune.runs.statistics import PredictionStats
from summtune.work.tokens.loss_warnings import loss_warnings
from summtune.work.tokens.tokens import Tokens


def write_outcome(
    plan: LocalPlan,
    run_dir: Path,
    tokens: Tokens,
    asked: DistinctPrompts[Sequence[int]],
    config: GenerationConfig,
    stats: PredictionStats,
    events: Events,
) -> None:
    """Write ``predictions.jsonl`` and ``prediction_stats.json``, and a trained model's ``generation_config.json``.

    Args:
        plan: of the run.
        run_dir: with an output of every prompt in its partial files.
        tokens: of the test dialogues' prompts.
        asked: the distinct prompts.
        config: the settings that generated.
        stats: what the generator knows of the stage; what is known of the prompts is added.
        events: to the command that waits.
    """
    if isinstance(plan, TrainPlan):
        write_text(run_dir / GENERATION_CONFIG, config.to_json_string())
    known = {
        "dialogues": len(asked.indices),
        "unique_prompts": len(asked.prompts),
        "truncated": tokens.truncated,
        "exemplars": tuple(tokens.exemplars),
        "lost_text": tokens.lost,
        "warnings": tuple(loss_warnings("test", tokens.lost)),
    }
    truncated = [prompt.truncated for prompt in tokens.prompts]
    for warning in write_results(run_dir, asked, truncated, stats.model_copy(update=known)):
        events.warn(warning)


def reasons(plan: LocalPlan) -> bool:
    """Return whether the model continues a prompt that ends with ``<think>`` with a thought.

    A model that was trained on summaries after such prompts answers at once.
    """
    return isinstance(plan, PromptPlan) and isinstance(plan.prompt, ChatFormat)
