"""Pretrain builtin/flan-t5-nano, the miniature that lets every recipe run offline, with summtune itself.

    python -m scripts.nano.make_nano

It learns to follow examples: prompts have zero to three exemplars, and only these show the style of the wanted summary
(names of persons, tense, order, length, which facts count; see styles.py). The style of builtin/dialogues is one of
thousands that are drawn at random. Names, things, scenarios and phrasings of the test split never occur
(scripts/check_leakage.py checks this).

Everything is stored in outputs/nano/<seed>-<portion>: the fresh model, the prompts of each stage (seeded), and one run
directory per stage. The stages are consecutive runs of pretrain.yaml and resume like any run; together they train for
1 h 36 min on two cores. log.jsonl is the log of the bundled checkpoint. Another run does not give the same bytes: the
trainer of the tokenizer's fragments is not deterministic.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

from scripts.nano.episodes import Mixture, copies, episodes
from scripts.nano.model import build_model, save_model
from scripts.nano.pieces import SPECIAL, train_tokenizer
from summtune.base.files import read_jsonl, write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / "outputs" / "nano"
SHIPPED = ROOT / "summtune" / "assets" / "flan-t5-nano"


@dataclass(frozen=True)
class Stage:
    """One run of pretrain.yaml.

    Args:
        name: of its prompts and its run directory.
        rows: number of prompts.
        mixture: of the prompts; None: words to be copied.
        lr_scheduler: of the learning rate after the warm-up.
    """

    name: str
    rows: int
    mixture: Mixture | None
    lr_scheduler: str

    def prompts(self, seed: int, words: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the stage's prompts with their targets; the same ones for the same seed and words to copy."""
        rng = Random(f"nano {self.name} {seed}")
        return islice(copies(rng, words) if self.mixture is None else episodes(rng, self.mixture), self.rows)


# Which facts the exemplars tell is learnt last: sooner if summaries hint at the facts that they do not tell, and if the
# prompt has little else.
STAGES = (
    Stage("copy", 16_000, None, "constant_with_warmup"),
    Stage("early", 60_000, Mixture((0.4, 0.6), (8, 6), told=(0.05, 0.95)), "constant_with_warmup"),
    Stage(
        "late", 100_000, Mixture((0.1, 0.2, 0.3, 0.4), (16, 8, 8, 8), 0.3, vague=0.8, abridged=0.8),
        "constant_with_warmup",
    ),
    Stage("style", 60_000, Mixture((0.15, 0.3, 0.25, 0.3), (16, 8, 6, 6), 0.5, vague=0.8), "linear"),
    Stage("facts", 40_000, Mixture((0.15, 0.3, 0.2, 0.35), (16, 16, 9, 8), 0.5, vague=1.0, outcome=0.7), "linear"),
)  # fmt: skip


def main() -> None:
    """Read the command line and pretrain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portion", type=float, default=1.0, help="of every stage's prompts, for a trial")
    args = parser.parse_args()
    work = WORK / f"{args.seed}-{args.portion:g}"
    model = work / "fresh"
    if not model.exists():
        make_fresh(model, args.seed)
    # Every piece as a separate word.
    pieces = AutoTokenizer.from_pretrained(model).get_vocab()
    words = sorted({piece.removeprefix("▁") for piece in pieces} - {"", *SPECIAL})
    log: list[str] = []
    for stage in STAGES:
        rows = work / f"{stage.name}.jsonl"
        if not rows.exists():
            write_rows(rows, islice(stage.prompts(args.seed, words), int(stage.rows * args.portion)))
        run_dir = work / stage.name
        run_stage(stage, model, rows, run_dir, args.seed)
        log += [json.dumps({"stage": stage.name} | row) for row in read_jsonl(run_dir / "train_log.jsonl")]
        model = run_dir / "model"
    # A trial does not overwrite the log of the bundled checkpoint.
    write_text((HERE if args.out == SHIPPED else work) / "log.jsonl", "\n".join(log) + "\n")
    trained = T5ForConditionalGeneration.from_pretrained(model, dtype=torch.float32)
    save_model(trained, AutoTokenizer.from_pretrained(model), args.out, torch.bfloat16)


def make_fresh(folder: Path, seed: int) -> None:
    """Write a model of random weights with its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(seed)
    save_model(build_model(len(tokenizer)), tokenizer, folder, torch.float32)


def write_rows(path: Path, prompts: Iterator[tuple[str, str]]) -> None:
    """Write prompts as a data set of summtune: one object per line with ``dialogue`` and ``summary``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".partial").open("w", encoding="utf-8") as file:
        for prompt, target in prompts:
            file.write(json.dumps({"dialogue": prompt, "summary": target}) + "\n")
    path.with_suffix(".partial").rename(path)


def run_stage(stage: Stage, model: Path, rows: Path, run_dir: Path, seed: int) -> None:
    """Run pretrain.yaml with this stage's model and prompts."""
    settings = {
        "base_model": model,
        "datasets.0.path": rows,
        "lr_scheduler": stage.lr_scheduler,
        "seed": seed,
    }
    given = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    summtune = Path(sys.executable).with_name("summtune")
    command = [str(summtune), "run", str(HERE / "pretrain.yaml"), "--output-dir", str(run_dir)]
    subprocess.run([*command, *given], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
