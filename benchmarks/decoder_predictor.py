"""The two sides of decoder_speed.py in prediction: summtune's generator, and a loop over padded random batches.

    python benchmarks/decoder_predictor.py --how summtune|padded --model FOLDER --prompts FILE --out FILE

The prompts are a JSON list of lists of token ids. It writes the seconds and the CPU seconds of generating, without
imports and loading, and the texts. Before the clock starts each side generates two tokens for its longest batch.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

WARM_UP_TOKENS = 2


def padded(given: argparse.Namespace, prompts: list[list[int]]) -> tuple[Any, Any]:
    """Return functions that warm up, and that return the texts."""
    dtype = torch.bfloat16 if given.bf16 else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(given.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=dtype).to("cuda" if given.cuda else "cpu").eval()

    def batch_of(ids: list[list[int]], new_tokens: int) -> list[str]:
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            output = model.generate(**batch, generation_config=settings(model, tokenizer, new_tokens))
        texts: list[str] = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    def generate() -> list[str]:
        order = list(range(len(prompts)))
        random.Random(0).shuffle(order)
        texts = [""] * len(prompts)
        for start in range(0, len(order), given.batch):
            places = order[start : start + given.batch]
            for place, text in zip(places, batch_of([prompts[at] for at in places], given.new_tokens), strict=True):
                texts[place] = text
        return texts

    return lambda: batch_of(sorted(prompts, key=len)[-given.batch :], WARM_UP_TOKENS), generate


def with_summtune(given: argparse.Namespace, prompts: list[list[int]]) -> tuple[Any, Any]:
    """Return functions that warm up, and that return the texts."""
    from summtune.work.generation.decoding import place
    from summtune.work.generation.local import LocalGenerator
    from summtune.work.models.loading import load_model, load_tokenizer

    folder = Path(given.model)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.bfloat16 if given.bf16 else torch.float32).eval()
    place(model, torch.device("cuda" if given.cuda else "cpu"), print)

    def generator(new_tokens: int) -> LocalGenerator:
        return LocalGenerator(model, tokenizer, settings(model, tokenizer, new_tokens), given.batch, seed=0)

    def generate() -> list[str]:
        texts = {at: output.text for at, output in generator(given.new_tokens).generate(prompts)}
        return [texts[at] for at in range(len(prompts))]

    return lambda: list(generator(WARM_UP_TOKENS).generate(sorted(prompts, key=len)[-given.batch :])), generate


def settings(model: Any, tokenizer: Any, new_tokens: int) -> GenerationConfig:
    own = model.generation_config
    padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return GenerationConfig(max_new_tokens=new_tokens, eos_token_id=own.eos_token_id, pad_token_id=padding)


HOW = {"padded": padded, "summtune": with_summtune}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--how", choices=HOW, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    given = parser.parse_args()
    warm_up, generate = HOW[given.how](given, json.loads(given.prompts.read_text()))
    warm_up()
    wall, cpu = time.perf_counter(), time.process_time()
    texts = generate()
    found = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "texts": [text.strip() for text in texts],
    }
    given.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
