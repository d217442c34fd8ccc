"""The peers of speed.py in prediction: Seq2SeqTrainer.predict, and one dialogue at a time as notebooks do it.

    python benchmarks/stock_predictor.py --how trainer|one_by_one --model FOLDER --data FILE --out FILE

It writes the seconds of generating, without imports and loading, and the texts. ``--how summtune`` does the same with
the predict stage's own functions. Before the clock starts each of them generates two tokens for its longest batch: in a
test set of hours the first touch of memory does not count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    GenerationConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

WARM_UP_TOKENS = 2


def prompt_of(dialogue: str) -> str:
    return f"Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


def with_trainer(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model)
    model.generation_config = settings(model, given)
    rows = [dict(tokenizer(prompt_of(text), max_length=512, truncation=True)) | {"labels": [1]} for text in dialogues]
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=given.batch_size,
            predict_with_generate=True,
            bf16_full_eval=given.bf16,
            use_cpu=not given.cuda,
            report_to="none",
        )
        trainer = Seq2SeqTrainer(
            model=model,
            args=arguments,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model),
            processing_class=tokenizer,
        )
        longest = sorted(rows, key=lambda row: -len(row["input_ids"]))[: given.batch_size]
        trainer.predict(longest, max_new_tokens=WARM_UP_TOKENS)  # type: ignore[arg-type]
        began = time.perf_counter()
        predictions: Any = trainer.predict(rows, max_new_tokens=given.max_new_tokens)  # type: ignore[arg-type]
        ids = predictions.predictions
        ids[ids < 0] = tokenizer.pad_token_id
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return time.perf_counter() - began, texts


def one_by_one(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    dtype = torch.bfloat16 if given.bf16 else torch.float32
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model, dtype=dtype).to("cuda" if given.cuda else "cpu")

    def summary_of(text: str, wanted: GenerationConfig) -> str:
        inputs = tokenizer(prompt_of(text), max_length=512, truncation=True, return_tensors="pt").to(model.device)
        return str(tokenizer.decode(model.generate(**inputs, generation_config=wanted)[0], skip_special_tokens=True))

    summary_of(max(dialogues, key=len), settings(model, given, WARM_UP_TOKENS))
    began = time.perf_counter()
    texts = [summary_of(text, settings(model, given)) for text in dialogues]
    return time.perf_counter() - began, texts


def with_summtune(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    from summtune.prompts import template_text
    from summtune.records import Dialogue
    from summtune.work.encoding import PromptEncoder
    from summtune.work.generation import generate, place
    from summtune.work.models import load_model, load_tokenizer
    from summtune.work.prediction import make_batches

    folder = Path(given.model)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.bfloat16 if given.bf16 else torch.float32).eval()
    place(model, torch.device("cuda" if given.cuda else "cpu"), print)
    rows = [Dialogue(id=str(place), dialogue=text, references=()) for place, text in enumerate(dialogues)]
    encoder = PromptEncoder(tokenizer, template_text("summarize"), 512)
    longest = make_batches(encoder.encode(rows), given.batch_size)[0]
    generate(model, tokenizer, longest, settings(model, given, WARM_UP_TOKENS))
    began = time.perf_counter()
    prompts = encoder.encode(rows)
    texts: dict[tuple[int, ...], str] = {}
    for batch in make_batches(prompts, given.batch_size):
        for ids, result in zip(batch, generate(model, tokenizer, batch, settings(model, given)), strict=True):
            texts[tuple(ids)] = result.text
    return time.perf_counter() - began, [texts[tuple(prompt.ids)] for prompt in prompts]


def settings(model: Any, given: argparse.Namespace, new_tokens: int | None = None) -> GenerationConfig:
    own = model.generation_config
    return GenerationConfig(
        max_new_tokens=new_tokens or given.max_new_tokens,
        decoder_start_token_id=own.decoder_start_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
    )


HOW = {"trainer": with_trainer, "one_by_one": one_by_one, "summtune": with_summtune}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--how", choices=HOW, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSON lines with dialogue")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=40)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    given = parser.parse_args()
    dialogues = [json.loads(line)["dialogue"] for line in Path(given.data).read_text(encoding="utf-8").splitlines()]
    seconds, texts = HOW[given.how](given, dialogues)
    given.out.write_text(json.dumps({"seconds": seconds, "texts": [text.strip() for text in texts]}))


if __name__ == "__main__":
    main()
