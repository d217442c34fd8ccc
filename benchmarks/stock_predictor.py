"""The peers of speed.py in prediction: Seq2SeqTrainer.predict, and one dialogue at a time as notebooks do it.

    python benchmarks/stock_predictor.py --how trainer|one_by_one --model FOLDER --data FILE --out FILE

It writes the seconds of generating, without imports and loading, and the texts. ``--how summtune`` does the same with
the predict stage's own functions. Before the clock starts each of them generates two tokens for its longest batch: in a
test set of hours the first touch of memory does not count.

Seq2SeqTrainer.predict also computes a loss where there are labels, as in its summarization example: here of one token
each, unless ``--unlabelled``. With ``--ends FILE`` a summary ends with the token of the number that the file has for a
prompt of that length, {tokens of the prompt: tokens of the summary}, in all programs: random weights never end one.
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
    DataCollatorWithPadding,
    GenerationConfig,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

WARM_UP_TOKENS = 2
END = 1


def prompt_of(dialogue: str) -> str:
    return f"Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


def end_where_wanted(model: Any, given: argparse.Namespace) -> None:
    """Make the end-of-sequence token the most probable one where a summary is to end, and the least probable before."""
    if given.ends is None:
        return
    ends = {int(prompt): tokens for prompt, tokens in json.loads(given.ends.read_text()).items()}
    of_length = torch.zeros(max(ends) + 1, dtype=torch.long, device=model.device)
    for prompt, tokens in ends.items():
        of_length[prompt] = tokens

    def force(_: Any, __: Any, named: dict[str, Any], output: Any) -> None:
        if named.get("past_key_values") is None:  # the loss of labels
            return
        logits = output.logits[:, -1]
        due = of_length[named["attention_mask"].sum(1)] == output.past_key_values.get_seq_length()
        logits[:, END] = torch.where(due, 1e4, -1e4).to(logits.dtype)

    model.register_forward_hook(force, with_kwargs=True)


def with_trainer(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model)
    model.generation_config = settings(model, given)
    end_where_wanted(model, given)
    labels = {} if given.unlabelled else {"labels": [END]}
    rows = [dict(tokenizer(prompt_of(text), max_length=512, truncation=True)) | labels for text in dialogues]
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
            data_collator=DataCollatorWithPadding(tokenizer)
            if given.unlabelled
            else DataCollatorForSeq2Seq(tokenizer, model),
            processing_class=tokenizer,
        )
        longest = sorted(rows, key=lambda row: -len(row["input_ids"]))[: given.batch_size]
        trainer.predict(longest, max_new_tokens=WARM_UP_TOKENS)
        began = time.perf_counter()
        predictions: Any = trainer.predict(rows, max_new_tokens=given.max_new_tokens)
        ids = predictions.predictions
        ids[ids < 0] = tokenizer.pad_token_id
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return time.perf_counter() - began, texts


def one_by_one(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    dtype = torch.bfloat16 if given.bf16 else torch.float32
    model = AutoModelForSeq2SeqLM.from_pretrained(given.model, dtype=dtype).to("cuda" if given.cuda else "cpu")
    end_where_wanted(model, given)

    def summary_of(text: str, wanted: GenerationConfig) -> str:
        inputs = tokenizer(prompt_of(text), max_length=512, truncation=True, return_tensors="pt").to(model.device)
        return str(tokenizer.decode(model.generate(**inputs, generation_config=wanted)[0], skip_special_tokens=True))

    summary_of(max(dialogues, key=len), settings(model, given, WARM_UP_TOKENS))
    began = time.perf_counter()
    texts = [summary_of(text, settings(model, given)) for text in dialogues]
    return time.perf_counter() - began, texts


def with_summtune(given: argparse.Namespace, dialogues: list[str]) -> tuple[float, list[str]]:
    from summtune.generation.distinct import DistinctPrompts
    from summtune.prompts.formats import TextFormat
    from summtune.prompts.templates import template_text
    from summtune.runs.records import Dialogue
    from summtune.work.generation.decoding import place
    from summtune.work.generation.local import LocalGenerator
    from summtune.work.models.loading import load_model, load_tokenizer
    from summtune.work.tokens.encoding import PromptEncoder

    folder = Path(given.model)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.bfloat16 if given.bf16 else torch.float32).eval()
    place(model, torch.device("cuda" if given.cuda else "cpu"), print)
    end_where_wanted(model, given)
    rows = [Dialogue(id=str(place), dialogue=text, references=()) for place, text in enumerate(dialogues)]
    encoder = PromptEncoder(tokenizer, TextFormat(template=template_text("summarize")), 512)
    longest = sorted((prompt.ids for prompt in encoder.encode(rows)), key=len)[-given.batch_size :]
    list(
        LocalGenerator(model, tokenizer, settings(model, given, WARM_UP_TOKENS), given.batch_size, 0).generate(longest)
    )
    began = time.perf_counter()
    asked = DistinctPrompts.of(prompt.ids for prompt in encoder.encode(rows))
    generator = LocalGenerator(model, tokenizer, settings(model, given), given.batch_size, seed=0)
    texts = {index: output.text for index, output in generator.generate(asked.prompts)}
    return time.perf_counter() - began, [texts[index] for index in asked.indices]


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
    parser.add_argument("--ends", type=Path)
    parser.add_argument("--unlabelled", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    given = parser.parse_args()
    dialogues = [json.loads(line)["dialogue"] for line in Path(given.data).read_text(encoding="utf-8").splitlines()]
    seconds, texts = HOW[given.how](given, dialogues)
    given.out.write_text(json.dumps({"seconds": seconds, "texts": [text.strip() for text in texts]}))


if __name__ == "__main__":
    main()
