"""The measurements of speed.py on one GPU: FLAN-T5-base's shape, bf16, batch 64, and LoRA against full fine-tuning.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/gpu.py [--runs 3] [--out FILE]

Without a GPU it reports that and exits with code 1. The model FLOP utilization is the operations that the model needs
for the real tokens, without padding and recomputation (Chowdhery et al., PaLM, 2022, appendix B), over the dense bf16
rate that the device reaches in a matrix product of 8192 × 8192.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import speed_inputs
import speed_prediction
import speed_training
import torch
from startup import versions

ON_GPU = speed_inputs.Setting(size="base", batch=64, trained=64 * 40, predicted=480, predicted_at_once=256, cuda=True)


def product_rate(repeats: int = 50) -> float:
    """Return operations per second of a bf16 matrix product."""
    size = 8192
    left, right = torch.randn(2, size, size, dtype=torch.bfloat16, device="cuda")
    for _ in range(5):
        left @ right
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch
    begin.record()
    for _ in range(repeats):
        left @ right
    end.record()
    torch.cuda.synchronize()
    return float(2 * size**3 * repeats / (begin.elapsed_time(end) / 1000))


def operations(folder: Path, rows: list[dict[str, Any]]) -> float:
    """Return the mean operations of a training step for one pair: six per weight and token, plus attention."""
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inner = config.num_heads * config.d_kv
    attention, layer = 4 * config.d_model * inner, 3 * config.d_model * config.d_ff
    totals = []
    for row in rows:
        source = len(tokenizer(f"Summarize the following conversation.\n\n{row['dialogue']}\n\nSummary:")["input_ids"])
        target = len(tokenizer(row["summary"])["input_ids"])
        encoder = config.num_layers * source * (attention + layer)
        # Of the attention to the dialogue, queries and outputs belong to target tokens, keys and values to the source.
        decoder = config.num_decoder_layers * (target * (1.5 * attention + layer) + source * attention / 2)
        products = encoder + decoder + target * config.d_model * config.vocab_size
        scores = config.num_layers * source**2 + config.num_decoder_layers * (target**2 / 2 + target * source)
        totals.append(6 * products + 12 * inner * scores)
    return statistics.fmean(totals)


def lora(folder: Path, runs: int) -> dict[str, Any]:
    """Return the median samples per second of full fine-tuning and of LoRA."""
    model = speed_inputs.write_model(folder / "adapted", ON_GPU)
    data = speed_inputs.write_rows(folder / "adapted.jsonl", speed_inputs.dialogues(ON_GPU.trained))
    steps = ON_GPU.trained // ON_GPU.batch
    seen: dict[str, list[float]] = {"full": [], "lora": []}
    for turn in range(runs):
        for name, keys in (("full", {}), ("lora", {"adapter": "lora"})):
            result = speed_training.train_summtune(ON_GPU, model, data, folder / f"{name}{turn}", True, steps, **keys)
            seen[name].append(result["samples_per_second"])
    rates = {name: round(statistics.median(values), 1) for name, values in seen.items()}
    return {"samples_per_second": rates, "ratio": round(rates["lora"] / rates["full"], 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"no GPU can be used (torch {torch.__version__}); nothing was measured", file=sys.stderr)
        return 1
    device = torch.cuda.get_device_properties(0)
    peak = product_rate()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        training = speed_training.training(folder, ON_GPU, arguments.runs)
        needed = (
            operations(folder / "model", speed_inputs.dialogues(500)) * training["samples_per_second"]["summtune bf16"]
        )
        result = {
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "device": {"name": device.name, "memory_gib": round(device.total_memory / 2**30)},
            "versions": versions() | {"torch": torch.__version__},
            "runs": arguments.runs,
            "matrix_product_tflops": round(peak / 1e12, 1),
            "training": training,
            "model_flop_utilisation": round(needed / peak, 3),
            "lora": lora(folder, arguments.runs),
            "prediction": speed_prediction.prediction(folder, ON_GPU, arguments.runs),
        }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
