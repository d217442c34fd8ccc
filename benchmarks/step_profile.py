"""Measures how much of a training step on a CPU each group of torch's operations takes.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/step_profile.py [--out FILE]

The step is summtune's, without accelerate around it: FLAN-T5-small's shape, bf16 autocast, eight of DialogSum's
validation dialogues of like length, fused AdamW. Shares are of the time inside operations (torch.profiler, self time).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import speed_inputs
import torch
from torch.profiler import ProfilerActivity, profile

from summtune.work.models.encoder_decoder import Collator
from summtune.work.models.loading import load_model, load_tokenizer
from summtune.work.models.on_cpu import quicken
from summtune.work.tokens.pairs import Pair, Pairs
from summtune.work.training.batches import GlobalBatches
from summtune.work.training.loss import TokenLoss

# Names with an underscore in front are functions of summtune.work.cpu.kernels; torch's operations within them count
# separately.
GROUPS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::addmv_"),
    "casts and copies": ("aten::copy_", "aten::clone", "aten::cat"),
    "optimizer and clipping": ("aten::_fused_adamw_", "aten::_foreach_norm", "aten::linalg_vector_norm"),
    "dropout": ("_Dropout", "_DropoutBackward", "aten::bitwise_and_", "aten::bitwise_not_", "aten::sub_"),
    "softmax": ("_Attention", "_AttentionBackward", "aten::_softmax", "aten::_softmax_backward_data"),
    "cross-entropy": ("aten::_log_softmax", "aten::_log_softmax_backward_data", "aten::nll_loss_forward"),
    "activation": ("_GatedGelu", "_GatedGeluBackward", "aten::gelu", "aten::gelu_backward"),
    "normalization": ("_RmsNorm", "_RmsNormBackward"),
    "embeddings and zeros": ("aten::fill_", "aten::zero_", "aten::embedding_dense_backward", "aten::index_select"),
    "sums and products of elements": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::addcmul"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = speed_inputs.write_model(Path(temporary) / "model", speed_inputs.ON_CPU)
        tokenizer, model = load_tokenizer(folder), load_model(folder, torch.float32).train()
    quicken(model, "training", print)
    token_loss = TokenLoss(model, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rows = [
        Pair(
            input_ids=tokenizer(f"Summarize the following conversation.\n\n{row['dialogue']}\n\nSummary:")["input_ids"],
            labels=tokenizer(row["summary"])["input_ids"],
        )
        for row in speed_inputs.dialogues(400)
    ]
    pairs = Pairs(rows, 8, 1)
    batches = GlobalBatches(pairs, 8, 42, group_by_length=True)
    collate = Collator(pad=0, start=0)

    def step(number: int) -> None:
        indices = batches[number]
        with torch.autocast("cpu", torch.bfloat16):
            summed = token_loss(model, collate([pairs[index] for index in indices]))
        (summed / batches.target_tokens(indices)).backward()  # type: ignore[no-untyped-call]  # torch
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step(0)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for number in range(1, arguments.steps + 1):
            step(number)
    seconds: Counter[str] = Counter()
    for event in profiled.key_averages():
        group = next((name for name, members in GROUPS.items() if event.key in members), "everything else")
        seconds[group] += event.self_cpu_time_total / 1e6
    total = sum(seconds.values())
    shares = {name: round(share / total, 3) for name, share in seconds.most_common()}
    print(json.dumps(shares, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps({"steps": arguments.steps, "shares": shares}, indent=2) + "\n")


if __name__ == "__main__":
    main()
