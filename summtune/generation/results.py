"""Joins outputs with their dialogues, and writes the results of the predict stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from summtune.base.errors import StageError
from summtune.base.files import read_jsonl, write_json, write_jsonl
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.generator import Output
from summtune.generation.partial import discard, read_outputs
from summtune.generation.thinking import is_unfinished, thought_warnings
from summtune.runs.records import Dialogue, Prediction
from summtune.runs.run_directory import DATA_FILES, PARTIAL_PREDICTIONS
from summtune.runs.statistics import STATS_FILE, PredictionStats


def write_results(
    run_dir: Path, asked: DistinctPrompts[Any], truncated: Sequence[bool], stats: PredictionStats
) -> list[str]:
    """Write ``predictions.jsonl`` and ``prediction_stats.json``, and delete the partial files.

    Return sentences on the outputs that a reader of the scores must know; they are also among the file's warnings.

    Args:
        run_dir: with the test dialogues, and an output of every prompt in its partial files.
        asked: the prompts of the test dialogues, in their order.
        truncated: whether each dialogue was cut to fit its prompt.
        stats: of the whole stage, but for what the outputs hold.

    Raises:
        StageError: a prompt has no output, for instance because the disk of another machine's rank is not shared.
    """
    partial = run_dir / PARTIAL_PREDICTIONS
    outputs = read_outputs(partial)
    missing = sum(key not in outputs for key in asked.keys)
    if missing:
        files = ", ".join(sorted(path.name for path in partial.iterdir()))
        raise StageError(
            f"prompts are without output (got {missing} of {len(asked.keys)}, in {partial}: {files}); check that all "
            "machines share this folder, and give the command again, which resumes with them"
        )
    dialogues = (Dialogue.from_json(row) for row in read_jsonl(run_dir / DATA_FILES["test"]))
    joined = list(predictions_of(dialogues, asked, truncated, outputs))
    warnings = thought_warnings(joined)
    found = {
        "thoughts": sum(one.thinking is not None for one in joined),
        "unfinished_thoughts": sum(map(is_unfinished, joined)),
        "prompt_tokens": _total(outputs[key].prompt_tokens for key in asked.keys),
        "generated_tokens": _total(outputs[key].new_tokens for key in asked.keys),
        "warnings": (*stats.warnings, *warnings),
    }
    write_jsonl(run_dir / "predictions.jsonl", (prediction.to_json() for prediction in joined))
    write_json(run_dir / STATS_FILE, stats.model_copy(update=found).to_json())
    discard(partial)
    return warnings


def _total(counts: Iterable[int | None]) -> int | None:
    """Return the sum; None if one of them is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def predictions_of(
    dialogues: Iterable[Dialogue], asked: DistinctPrompts[Any], truncated: Sequence[bool], outputs: Mapping[str, Output]
) -> Iterator[Prediction]:
    """Yield the prediction for each dialogue.

    Args:
        dialogues: of the test data.
        asked: the prompts of the dialogues, in their order.
        truncated: whether each dialogue was cut to fit its prompt.
        outputs: by the keys of the prompts.
    """
    for dialogue, index, cut in zip(dialogues, asked.indices, truncated, strict=True):
        output = outputs[asked.keys[index]]
        yield Prediction(
            id=dialogue.id,
            dialogue=dialogue.dialogue,
            prediction=output.text,
            references=dialogue.references,
            prompt_tokens=output.prompt_tokens,
            new_tokens=output.new_tokens,
            truncated=cut,
            hit_length_cap=output.hit_length_cap,
            thinking=output.thinking,
            answer=output.answer,
        )
