"""Settings, models and dialogues that the speed benchmarks share, and a way to run their programs."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_ins import made_dialogues, write_shaped

HERE = Path(__file__).parent
SUMMTUNE = [sys.executable, "-m", "summtune"]  # also where the command is not installed
_NEIGHBOURS = 8


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Args:
        size: of FLAN-T5, as flan_t5_shaped.py calls it.
        batch: pairs of an optimizer step.
        trained: dialogues of each of two epochs, a multiple of ``batch``; those of the validation split, repeated where
            they are too few.
        predicted: dialogues that are summarized.
        predicted_at_once: dialogues of summtune's batches.
        cuda: on a GPU, the first one that is visible.
        bf16: measure it too.
    """

    size: str
    batch: int
    trained: int
    predicted: int
    predicted_at_once: int
    cuda: bool
    bf16: bool = True

    @property
    def precisions(self) -> dict[str, bool]:
        return {"fp32": False} | ({"bf16": True} if self.bf16 else {})

    @property
    def environment(self) -> dict[str, str]:
        # Seq2SeqTrainer would use every visible GPU, each with a whole batch.
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        return os.environ | {"CUDA_VISIBLE_DEVICES": first if self.cuda else ""}

    @property
    def cuda_words(self) -> list[str]:
        return ["--cuda"] if self.cuda else []


ON_CPU = Setting(size="small", batch=8, trained=48, predicted=64, predicted_at_once=32, cuda=False)


def write_model(folder: Path, setting: Setting, dropout: float | None = None) -> Path:
    """Write a model with FLAN-T5's shape, unless there is one, optionally with another dropout."""
    if not (folder / "config.json").exists():
        if "SUMMTUNE_TEST_DATA" in os.environ:
            tool = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "tools" / "flan_t5_shaped.py"
            run([sys.executable, tool, "--size", setting.size, "--out", folder], setting)
        else:
            write_shaped(folder, setting.size)
    if dropout is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dropout_rate": dropout}))
    return folder


def dialogues(count: int) -> list[dict[str, Any]]:
    """Return dialogues of the validation split, a multiple of eight, with the length distribution of the whole split.

    They are groups of eight neighbours by length, so that batches are padded as in the whole split where they are of
    like length (1.01 times the tokens of the prompts for 48 dialogues, 1.03 for all), and nearly as much where they are
    random (1.59, 1.69). With every nth dialogue a batch of like length would be padded 1.16 times.
    Without SUMMTUNE_TEST_DATA they are builtin dialogues, joined to the same lengths.
    """
    if "SUMMTUNE_TEST_DATA" not in os.environ:
        return made_dialogues(count)
    path = Path(os.environ["SUMMTUNE_TEST_DATA"]) / "data" / "dialogsum" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [{"dialogue": row["dialogue"], "summary": row["summary"]} for row in rows]
    if count >= len(pairs):
        # Repeated dialogues begin with a number: summtune groups rows with equal dialogues.
        repeated = (pair | {"dialogue": f"{n}. {pair['dialogue']}"} for n in itertools.count(2) for pair in pairs)
        return list(itertools.islice(itertools.chain(pairs, repeated), count))
    assert count % _NEIGHBOURS == 0, f"not a multiple of {_NEIGHBOURS} dialogues (got {count})"
    by_length = sorted(range(len(pairs)), key=lambda place: len(pairs[place]["dialogue"]))
    groups = count // _NEIGHBOURS
    middles = [(2 * number + 1) * len(pairs) // (2 * groups) for number in range(groups)]
    starts = [min(max(middle - _NEIGHBOURS // 2, 0), len(pairs) - _NEIGHBOURS) for middle in middles]
    return [pairs[place] for place in sorted(at for start in starts for at in by_length[start : start + _NEIGHBOURS])]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(command: list[Any], setting: Setting, environment: dict[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment or setting.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


def ratios(rates: dict[str, float], others: list[str]) -> dict[str, float]:
    """Return the rates of summtune over those of the other programs, for each pair of measured precisions."""
    ours = [name for name in rates if name.startswith("summtune")]
    theirs = [name for name in rates if name.startswith(tuple(others))]
    return {f"{our} against {their}": round(rates[our] / rates[their], 2) for our in ours for their in theirs}
