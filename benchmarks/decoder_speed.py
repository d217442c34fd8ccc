"""Times decoder-only models against TRL's SFTTrainer and against a loop of `generate` over padded random batches.

    SUMMTUNE_TEST_DATA=… .venv/bin/python benchmarks/decoder_speed.py --model FOLDER --peer PYTHON [--out FILE]

The model is SmolLM2-135M-Instruct, as tools/smollm2.py of the test data writes it. PYTHON is that of a virtual
environment with TRL and the same torch, transformers and peft. The programs run in turn, each in a separate process, on
all cores.

- Training: LoRA on all linear layers (r 16, no dropout, TRL's default), two epochs of the same 48 dialogues, of which
  the second is timed, eight dialogues a step. summtune takes them one at a time: its loss does not depend on that. The
  peer is trl_trainer.py with TRL's defaults, and once more without gradient checkpointing, which is one of them.
- Losses: five steps of the same tokens in the same order, from the same adapter, in fp32.
- Prediction: zero-shot and three-shot prompts with fixed exemplars, batches of 16 on both sides, at most 64 tokens. The
  peer is in decoder_predictor.py.

Where the processor has no bf16, only fp32 is timed. CPU times are noted where a process can measure its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speed_training
from processor import hardware, product_rates
from speed_inputs import HERE, Setting, dialogues, run, write_rows
from startup import versions

ON_CPU = Setting(size="", batch=8, trained=48, predicted=64, predicted_at_once=16, cuda=False)
RANK, LEARNING_RATE, NEW_TOKENS = 16, 1e-4, 64
PARTS = ["training", "losses", "prediction"]
TEMPLATE = "Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


@dataclass(frozen=True)
class Scene:
    """What is measured, and where.

    Args:
        folder: for files.
        model: decoder-only.
        peer: Python with TRL; None leaves it out.
        setting: sizes and precisions.
        at_once: dialogues that summtune trains on at once.
    """

    folder: Path
    model: Path
    peer: str | None
    setting: Setting
    at_once: int = 1

    @property
    def is_chat(self) -> bool:
        from summtune.prompts.chat_template import own_template

        return own_template(self.model) is not None

    def ours(self, name: str, data: Path, bf16: bool, steps: int, **keys: Any) -> dict[str, Any]:
        """Train with `summtune run`; return samples per second, losses and peak memory."""
        recipe: dict[str, Any] = {
            "adapter": "lora",
            "lora_r": RANK,
            "lora_alpha": 2 * RANK,
            "lora_dropout": 0,
            "prompt_template": TEMPLATE,
            "micro_batch_size": self.at_once,
            "gradient_accumulation_steps": self.setting.batch // self.at_once,
        }
        found = speed_training.train_summtune(
            self.setting, self.model, data, self.folder / name, bf16, steps, **recipe | keys
        )
        training = json.loads((self.folder / name / "training.json").read_text())
        return found | {"peak_memory_bytes": training["peak_memory_bytes"]}

    def theirs(self, name: str, data: Path, bf16: bool, steps: int, *more: str) -> dict[str, Any]:
        """Train with SFTTrainer; return the same."""
        assert self.peer is not None
        out = self.folder / f"{name}.times.json"
        words: list[Any] = ["--model", self.model, "--data", data, "--out", out, "--batch", self.setting.batch]
        words += ["--max-steps", steps, "--lora-r", RANK, "--learning-rate", LEARNING_RATE, *self.setting.cuda_words]
        run([self.peer, HERE / "trl_trainer.py", *words, *(["--bf16"] if bf16 else []), *more], self.setting)
        found: dict[str, Any] = json.loads(out.read_text())
        times, cpu = (found[key][steps // 2 - 1 :] for key in ("times", "cpu"))
        done = self.setting.batch * (len(times) - 1)
        rates = {"samples_per_second": done / (times[-1] - times[0]), "per_cpu_second": done / (cpu[-1] - cpu[0])}
        return found | rates


def training(scene: Scene, runs: int, precisions: dict[str, bool] | None = None) -> dict[str, Any]:
    """Return samples per second, their ratios, and peak memory in GiB, for each precision."""
    rows = dialogues(scene.setting.trained)
    data = write_rows(scene.folder / "train.jsonl", rows)
    as_columns = write_rows(scene.folder / "columns.jsonl", [_columns(row, scene.is_chat) for row in rows])
    steps = 2 * scene.setting.trained // scene.setting.batch
    seen: dict[str, list[dict[str, Any]]] = {}
    for turn in range(runs):
        for precision, bf16 in (precisions or scene.setting.precisions).items():
            seen.setdefault(f"summtune {precision}", []).append(
                scene.ours(f"ours_{precision}{turn}", data, bf16, steps)
            )
            for peer, more in {"SFTTrainer": [], "SFTTrainer, not checkpointing": ["--without-checkpointing"]}.items():
                if scene.peer is not None:
                    found = scene.theirs(f"theirs_{precision}{turn}", as_columns, bf16, steps, *more)
                    seen.setdefault(f"{peer} {precision}", []).append(found)
            print({name: round(some[-1]["samples_per_second"], 3) for name, some in seen.items()}, flush=True)
    return _compared(seen, "samples_per_second") | {
        "peers_per_cpu_second": {
            name: round(statistics.median(one["per_cpu_second"] for one in some), 3)
            for name, some in seen.items()
            if "per_cpu_second" in some[0]
        }
    }


def mean_tokens(scene: Scene) -> tuple[float, float]:
    """Return the mean tokens of the dialogues that are trained on: of prompt and summary, and of the summary."""
    from summtune.work.models.loading import load_tokenizer

    tokenizer = load_tokenizer(scene.model)
    rows = dialogues(scene.setting.trained)
    summaries = statistics.fmean(len(tokenizer(row["summary"])["input_ids"]) for row in rows)
    prompts = statistics.fmean(
        len(tokenizer(TEMPLATE.format(dialogue=row["dialogue"]))["input_ids"][:512]) for row in rows
    )
    return prompts + summaries, summaries


def _columns(row: dict[str, str], is_chat: bool) -> dict[str, Any]:
    prompt, completion = TEMPLATE.format(dialogue=row["dialogue"]), row["summary"]
    if not is_chat:
        return {"prompt": prompt, "completion": f" {completion}"}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


def equal_losses(scene: Scene, steps: int = 5) -> dict[str, Any]:
    """Return the losses of the same steps in fp32, and their largest difference.

    The peer is given summtune's tokens: TRL would also train on what a template writes after the end of the turn.
    """
    from summtune.plan.plan import TrainPlan, read_run_plan
    from summtune.runs.records import Dialogue
    from summtune.work.models.loading import load_tokenizer
    from summtune.work.models.model_check import check_model
    from summtune.work.tokens.completions import all_ends, completions
    from summtune.work.tokens.pairs import Pair, Pairs
    from summtune.work.tokens.planned import encoder_of
    from summtune.work.training.batches import GlobalBatches

    batch = scene.setting.batch
    rows = dialogues(steps * batch)
    data = write_rows(scene.folder / "still.jsonl", rows)
    ours = scene.ours("still", data, False, steps, group_by_length=False)["losses"]
    plan = read_run_plan(scene.folder / "still")
    assert isinstance(plan, TrainPlan)
    tokenizer = load_tokenizer(scene.model)
    encoder = encoder_of(plan, tokenizer)
    ends = all_ends(encoder, check_model(scene.model, tokenizer, plan.recipe).ends)
    prompts = encoder.encode([Dialogue(str(at), row["dialogue"], ()) for at, row in enumerate(rows)])
    learnt = completions(encoder, prompts, [()] * len(rows), [row["summary"] for row in rows], ends)
    tokens = [
        {"input_ids": [*one.ids, *other.ids], "completion_mask": [0] * len(one.ids) + [1] * len(other.ids)}
        for one, other in zip(prompts, learnt, strict=True)
    ]
    pairs = Pairs([Pair(input_ids=[1], labels=[1])] * len(rows), batch, 1)
    order = GlobalBatches(pairs, batch, 42, group_by_length=False).order(0)
    same = write_rows(scene.folder / "tokens.jsonl", [tokens[at] for at in order])
    theirs = scene.theirs("still_theirs", same, False, steps, "--in-order", "--without-checkpointing")["losses"]
    apart = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    print("largest difference of a loss", apart, flush=True)
    return {"summtune": ours, "SFTTrainer": theirs, "largest_difference": apart}


def prediction(scene: Scene, runs: int) -> dict[str, Any]:
    """Return dialogues per second of wall clock and of CPU time, their ratios, and the share of equal texts."""
    setting = scene.setting
    seen: dict[str, list[dict[str, Any]]] = {}
    same: dict[str, float] = {}
    for shots in (0, 3):
        prompts = scene.folder / f"{shots}_shots.json"
        prompts.write_text(json.dumps(_prompts(scene, shots)))
        for precision, bf16 in setting.precisions.items():
            texts: dict[str, list[str]] = {}
            for who in [who for _ in range(runs) for who in ("summtune", "padded")]:
                out = scene.folder / "predicted.json"
                words: list[Any] = ["--how", who, "--model", scene.model, "--prompts", prompts, "--out", out]
                words += ["--batch", setting.predicted_at_once, "--new-tokens", NEW_TOKENS, *setting.cuda_words]
                command = [sys.executable, HERE / "decoder_predictor.py", *words, *(["--bf16"] if bf16 else [])]
                run(command, setting, _as_worker(setting) if who == "summtune" else None)
                found = json.loads(out.read_text())
                texts[who] = found.pop("texts")
                rates = {"samples_per_second": "seconds", "per_cpu_second": "cpu_seconds"}
                found |= {rate: setting.predicted / found[key] for rate, key in rates.items()}
                seen.setdefault(f"{who} {shots}-shot {precision}", []).append(found)
            pairs = zip(texts["summtune"], texts["padded"], strict=True)
            same[f"{shots}-shot {precision}"] = round(statistics.fmean(one == other for one, other in pairs), 3)
            print({name: round(some[-1]["samples_per_second"], 3) for name, some in seen.items()}, same, flush=True)
    return _compared(seen, "samples_per_second") | {
        "cpu_ratios": _compared(seen, "per_cpu_second")["ratios"],
        "same_texts": same,
    }


def _prompts(scene: Scene, shots: int) -> list[list[int]]:
    """Return the tokens of the prompts; the exemplars are the first dialogues, which are not summarized."""
    from summtune.plan.prompt_format import prompt_format
    from summtune.recipe.keys import PromptRecipe
    from summtune.runs.records import Dialogue
    from summtune.work.models.loading import load_tokenizer
    from summtune.work.tokens.encoding import PromptEncoder

    rows = dialogues(scene.setting.predicted + 8)
    recipe = PromptRecipe.model_validate(
        {
            "kind": "prompt",
            "base_model": str(scene.model),
            "test_datasets": [{"path": "unused"}],
            "prompt_template": TEMPLATE,
        }
    )
    form = prompt_format(recipe, scene.model, "2026-01-01")
    encoder = PromptEncoder(load_tokenizer(scene.model), form, 4096, continued=True)
    asked = [Dialogue(str(at), row["dialogue"], (row["summary"],)) for at, row in enumerate(rows)]
    exemplars, summarized = asked[:shots], asked[8:]
    return [list(prompt.ids) for prompt in encoder.encode(summarized, [exemplars] * len(summarized))]


def _as_worker(setting: Setting) -> dict[str, str]:
    """Return the environment that `summtune run` gives its workers."""
    from summtune.launchers import local
    from summtune.plan.launch import Launch

    device: Any = "cuda" if setting.cuda else "cpu"
    launch = Launch(distribution="none", processes=1, device=device, config_file="accelerate.yaml")
    return local.environment(launch) | ({} if setting.cuda else {"CUDA_VISIBLE_DEVICES": ""})


def _compared(seen: dict[str, list[dict[str, Any]]], key: str) -> dict[str, Any]:
    """Return medians, and the ratio of summtune to each program that did the same work in the same precision."""
    rates = {name: statistics.median(one[key] for one in some) for name, some in seen.items() if key in some[0]}
    peaks = {name: max(one["peak_memory_bytes"] for one in some) / 2**30 for name, some in seen.items()}
    ratios = {
        f"{work} against {other}": round(rates[f"summtune {work}"] / rates[name], 2)
        for name in rates
        for other, work in [_split(name, rates)]
        if other != "summtune"
    }
    return {
        key: {name: round(rate, 3) for name, rate in rates.items()},
        "ratios": ratios,
        "peak_memory_gib": {name: round(peak, 2) for name, peak in peaks.items()},
    }


def _split(name: str, names: Sequence[str] | dict[str, Any]) -> tuple[str, str]:
    """Return the program and the work that are in a name."""
    works = [one.removeprefix("summtune ") for one in names if one.startswith("summtune ")]
    work = next(one for one in works if name.endswith(one))
    return name.removesuffix(work).strip(), work


def _versions_of(peer: str) -> dict[str, str]:
    names = ["trl", "torch", "transformers", "peft"]
    lines = f"import importlib.metadata as m; print(*[m.version(name) for name in {names}])"
    return dict(zip(names, subprocess.check_output([peer, "-c", lines], text=True).split(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--peer", help="Python of an environment with TRL; without it, only prediction is compared")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--trained", type=int, default=ON_CPU.trained, help="dialogues, a multiple of eight")
    parser.add_argument("--predicted", type=int, default=ON_CPU.predicted, help="dialogues, a multiple of eight")
    parser.add_argument("--fp32", action="store_true", help="leave out bf16")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    machine = hardware()
    setting = Setting("", ON_CPU.batch, given.trained, given.predicted, ON_CPU.predicted_at_once, cuda=False,
                      bf16=bool(machine["bf16"]) and not given.fp32)  # fmt: skip
    result: dict[str, Any] = {"machine": machine, "versions": versions(), "runs": given.runs}
    result |= {"peer": _versions_of(given.peer) if given.peer else None, "matrix_product_gflops": product_rates()}
    with tempfile.TemporaryDirectory() as temporary:
        scene = Scene(Path(temporary), given.model.resolve(), given.peer, setting)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "training": lambda: training(scene, given.runs),
            "losses": lambda: equal_losses(scene),
            "prediction": lambda: prediction(scene, given.runs),
        }
        for name, measure in parts.items():
            if name in given.only and (name != "losses" or given.peer):
                result[name] = measure()
                if given.out:  # after each part, as the whole takes more than half an hour
                    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
