"""The peer of decoder_speed.py in training: TRL's SFTTrainer with LoRA, in a script of the usual kind.

    <python with trl> benchmarks/trl_trainer.py --model FOLDER --data FILE --out FILE

The data are JSON lines with ``prompt`` and ``completion``: texts, lists of messages, or ``input_ids`` with a
``completion_mask``. Everything that is not given is TRL's default, the loss of completions alone and gradient
checkpointing among them. It writes the clock and the CPU time after each step, the losses, and the peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Records the time of each optimizer step, and its loss."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: list[float] = []
        self.cpu: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.time())
        self.cpu.append(time.process_time())

    def on_log(self, _args: Any, _state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        self.losses += [logs["loss"]] if "loss" in logs else []

    def write(self) -> None:
        on_gpu = torch.cuda.is_available()
        peak = (
            torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        )
        found = {"times": self.times, "cpu": self.cpu, "losses": self.losses, "peak_memory_bytes": peak}
        self.path.write_text(json.dumps(found))


class InOrder(SFTTrainer):
    """Uses the rows in the order of the file, to compare losses."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--lora-r", type=int, default=16)
    parser.add_argument("--without-checkpointing", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--in-order", action="store_true", help="take the rows in the order of the file")
    given = parser.parse_args()
    torch.manual_seed(42)  # of the adapter's random weights, as summtune draws them
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    lora = LoraConfig(r=given.lora_r, lora_alpha=2 * given.lora_r, target_modules="all-linear", task_type="CAUSAL_LM")
    arguments = SFTConfig(
        output_dir=str(given.out.with_suffix(".checkpoints")),
        per_device_train_batch_size=given.batch,
        max_steps=given.max_steps,
        learning_rate=given.learning_rate,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=given.bf16,
        use_cpu=not given.cuda,
        completion_only_loss=True,  # its default for these columns, but not for tokens with a mask
        **({"gradient_checkpointing": False} if given.without_checkpointing else {}),
    )
    clock = Clock(given.out)
    trainer_class = InOrder if given.in_order else SFTTrainer
    trainer_class(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=load_dataset("json", data_files=given.data, split="train"),
        callbacks=[clock],
    ).train()
    clock.write()


if __name__ == "__main__":
    main()
