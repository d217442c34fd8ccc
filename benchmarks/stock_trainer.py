"""The peer of first_step.py, checkpoint.py and speed.py: transformers' Seq2SeqTrainer in a script of the usual kind.

    accelerate launch --config_file FILE benchmarks/stock_trainer.py --model FOLDER --data FILE --out FOLDER

It writes ``times.json``: how many ranks there really are (``world``), the stage of ZeRO (``zero_stage``, 0 without),
and the clock (`time.time`) after each optimizer step (``times``). ``losses.json``: the loss of each step.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch.distributed
from datasets import load_dataset
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)


class Clock(TrainerCallback):
    """Records the time of each optimizer step and the number of ranks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: list[float] = []
        self.losses: list[float] = []

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        self.losses += [logs["loss"]] if "loss" in logs else []
        if state.is_world_process_zero:
            self.path.with_name("losses.json").write_text(json.dumps(self.losses))

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.times.append(time.time())
        # From the process group: a launcher may start fewer processes than it was asked to.
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        assert world == args.world_size, f"the Trainer believes in {args.world_size} processes (got {world})"
        config = args.deepspeed_plugin.deepspeed_config if args.deepspeed_plugin else {}
        stage = config.get("zero_optimization", {}).get("stage", 0)
        if state.is_world_process_zero:
            written = self.path.with_suffix(".part")
            written.write_text(json.dumps({"world": world, "zero_stage": stage, "times": self.times}))
            written.replace(self.path)


class InOrder(Seq2SeqTrainer):
    """Uses the pairs in the order of the file, to compare losses."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSON lines with dialogue and summary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=1)
    parser.add_argument("--save-steps", type=int, default=0)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--target-len", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--in-order", action="store_true", help="take the pairs in the order of the file")
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model)

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        prompts = [f"Summarize the following conversation.\n\n{dialogue}\n\nSummary:" for dialogue in rows["dialogue"]]
        encoded = tokenizer(prompts, max_length=given.sequence_len, truncation=True)
        summaries = tokenizer(text_target=rows["summary"], max_length=given.target_len, truncation=True)
        return dict(encoded) | {"labels": summaries["input_ids"]}

    data = load_dataset("json", data_files=given.data, split="train")
    data = data.map(encode, batched=True, remove_columns=data.column_names)
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(given.out / "checkpoints"),
        per_device_train_batch_size=given.micro_batch,
        max_steps=given.max_steps,
        learning_rate=given.learning_rate,
        optim="adamw_torch_fused",
        save_strategy="steps" if given.save_steps else "no",
        save_steps=given.save_steps or 500,
        save_total_limit=2,
        logging_steps=1,
        report_to="none",
        bf16=given.bf16,
        use_cpu=not given.cuda,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    trainer_class = InOrder if given.in_order else Seq2SeqTrainer
    trainer_class(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        processing_class=tokenizer,
        callbacks=[Clock(given.out / "times.json")],
    ).train()


if __name__ == "__main__":
    main()
