"""The peer of first_step.py and checkpoint.py: transformers' Seq2SeqTrainer in a script of the usual kind.

    accelerate launch benchmarks/stock_trainer.py --model FOLDER --data FILE --out FOLDER [--save-steps N]

It writes ``times.json``: the clock (`time.time`) after each optimizer step.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from datasets import load_dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)


class Clock(TrainerCallback):
    """Writes down when each optimizer step was over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: list[float] = []

    def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.times.append(time.time())
        if state.is_world_process_zero:
            self.path.write_text(json.dumps(self.times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSON lines with dialogue and summary")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=1)
    parser.add_argument("--save-steps", type=int, default=0)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--deepspeed")
    given = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model)

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        prompts = [f"Summarize the following dialogue.\n\n{dialogue}\n\nSummary:" for dialogue in rows["dialogue"]]
        encoded = tokenizer(prompts, max_length=given.sequence_len, truncation=True)
        encoded["labels"] = tokenizer(text_target=rows["summary"], max_length=128, truncation=True)["input_ids"]
        return dict(encoded)

    data = load_dataset("json", data_files=given.data, split="train")
    data = data.map(encode, batched=True, remove_columns=data.column_names)
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(given.out / "checkpoints"),
        per_device_train_batch_size=given.micro_batch,
        max_steps=given.max_steps,
        learning_rate=1e-3,
        save_strategy="steps" if given.save_steps else "no",
        save_steps=given.save_steps or 500,
        save_total_limit=2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        deepspeed=given.deepspeed,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    Seq2SeqTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        callbacks=[Clock(given.out / "times.json")],
    ).train()


if __name__ == "__main__":
    main()
