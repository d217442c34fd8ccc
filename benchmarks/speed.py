"""Times training and prediction against transformers' Seq2SeqTrainer and generation of one dialogue at a time.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/speed.py [--runs 3] [--out FILE]

FLAN-T5-small's shape with random weights, dialogues of DialogSum's validation split, global batch 8, all cores. The
programs run in turn, each in a separate process. Random weights never end a summary, so outputs have 40 tokens.

- Training: two epochs of the same 48 dialogues, of which the second is timed. In the first one every program asks the
  system for its memory, which costs a virtual machine seconds; a real training spends its hours after that. The peer is
  stock_trainer.py: random batches, padded to the longest.
- Losses: five steps of the same pairs in the same order, no dropout.
- Prediction: 64 dialogues, in batches of 32 in summtune, as its training recipes have it. The peers are in
  stock_predictor.py.
- Endings (`--only endings`): the same where summaries end, after as many tokens as the reference of a dialogue whose
  prompt has the same length.
- ROUGE: 200 dialogues of the stream generator, summarized by `builtin/flan-t5-nano` in fp32 and in bf16. Random weights
  cannot show it.

A CPU without AVX512-BF16 or AMX only imitates bf16, which summtune refuses and nobody wants; there times are of fp32.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import speed_prediction
import speed_training
from processor import hardware, product_rates
from speed_inputs import ON_CPU
from startup import versions

PARTS = ["training", "losses", "prediction", "rouge"]
MORE = ["endings"]  # only when asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=[*PARTS, *MORE], nargs="+")
    parser.add_argument("--out", type=Path, help="a file, or a folder for <date>-<machine>.json")
    arguments = parser.parse_args()
    if "SUMMTUNE_TEST_DATA" not in os.environ:
        parser.error("SUMMTUNE_TEST_DATA must name a folder with data/dialogsum and tools/flan_t5_shaped.py")
    parts = arguments.only or PARTS
    today, machine = datetime.datetime.now(datetime.timezone.utc).date().isoformat(), hardware()
    setting = dataclasses.replace(ON_CPU, bf16=bool(machine["bf16"]))
    if not setting.bf16:
        print("this processor has no bf16: only fp32 is timed", flush=True)
    result: dict[str, Any] = {"date": today, "machine": machine, "versions": versions(), "runs": arguments.runs}
    result["matrix_product_gflops"] = product_rates()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "training" in parts:
            result["training"] = speed_training.training(folder, setting, arguments.runs)
        if "losses" in parts:
            result["losses"] = speed_training.equal_losses(folder, setting)
        if "prediction" in parts:
            result["prediction"] = speed_prediction.prediction(folder, setting, arguments.runs)
        if "endings" in parts:
            result["endings"] = speed_prediction.endings(folder, setting, arguments.runs)
        if "rouge" in parts:
            result["rouge"] = speed_prediction.rouge_of_precisions(folder, setting)
    print(json.dumps(result, indent=2))
    if arguments.out:
        words = re.findall(r"[a-z0-9.]+", machine["processor"].lower()) + machine["bf16"]
        name = "-".join([*words, f"{machine['cores']}cores"])
        path = arguments.out / f"{today}-{name}.json" if arguments.out.is_dir() else arguments.out
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
