"""The parts of gpu.py that measure: this machine, training, prediction, adapters, ZeRO."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import sys
from typing import Any

import psutil
import speed_prediction
import speed_training
import torch
from gpu_scene import MissingError, Scene, running, wait
from gpu_work import copy_rate, decoder_operations, operations, product_rate
from speed_inputs import dialogues, write_rows

NEW_TOKENS = speed_prediction.NEW_TOKENS


def machine(scene: Scene) -> None:
    """Notes the devices, versions and rates of this machine; fails if summtune does not see the GPU that torch uses."""
    from summtune.machine.devices import visible_gpus

    memory = psutil.virtual_memory().total
    scene.note("host", {"cores": os.cpu_count(), "memory_gib": round(memory / 2**30), "kernel": platform.release()})
    packages = "torch transformers accelerate peft deepspeed datasets tokenizers safetensors numpy bitsandbytes triton"
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in packages.split():
        if importlib.util.find_spec(package) is not None:
            versions[package] = importlib.metadata.version(package)
    scene.note("versions", versions | {"torch": torch.__version__})
    scene.note("compilers", {name: shutil.which(name) for name in ("c++", "nvcc", "ninja")})
    seen = visible_gpus()
    if scene.setting.cuda:
        device = torch.cuda.get_device_properties(0)
        scene.note("device", {"name": device.name, "memory_gib": round(device.total_memory / 2**30, 1)})
        assert len(seen) == 1, f"torch uses {device.name}, summtune sees {seen}"
    rate = product_rate(scene.setting)
    scene.note("matrix_product_tflops", round(rate / 1e12, 3))
    scene.note("copied_gb_per_second", round(copy_rate(scene.setting) / 1e9, 1))


def inputs(scene: Scene) -> None:
    """Writes the model and the dialogues that the other parts share."""
    given = "SUMMTUNE_TEST_DATA" in os.environ
    scene.note("model", f"FLAN-T5-{scene.setting.size}'s shape, random weights")
    scene.note("tokenizer", "T5" if given else "builtin/flan-t5-nano")
    joined = "builtin dialogues, joined and cut to the length distribution of DialogSum"
    scene.note("dialogues", "DialogSum, validation split, repeated" if given else joined)
    scene.note("model_gib", round((scene.model / "model.safetensors").stat().st_size / 2**30, 2))
    rows = [json.loads(line) for line in scene.data.read_text().splitlines()]
    needed = operations(scene.model, rows[:500])
    scene.note("tokens", needed.tokens)
    scene.note("operations_of_a_pair", needed.mean)


def training(scene: Scene) -> None:
    """Times training against Seq2SeqTrainer, in turn."""
    _training(scene, scene.setting.bf16, runs=2)


def training_fp32(scene: Scene) -> None:
    """Times training in fp32 against Seq2SeqTrainer, with half of the batch, which fits 80 GB."""
    half = scene.setting.batch // 2
    setting = dataclasses.replace(scene.setting, batch=half, trained=scene.setting.trained // 2)
    _training(dataclasses.replace(scene, setting=setting), bf16=False, runs=1)


def _training(scene: Scene, bf16: bool, runs: int) -> None:
    scene.note("batch", scene.setting.batch)
    ours: list[float] = []
    stock: list[float] = []
    for turn in range(1 if scene.rehearsed else runs):
        result = scene.train(f"ours{turn}", bf16)
        ours.append(result["samples_per_second"])
        scene.note(f"summtune {turn}", result)
        at = scene.own / f"stock{turn}"
        done = speed_training.train_stock(scene.setting, scene.model, scene.data, at, bf16, scene.steps)
        stock.append(done["samples_per_second"])
        losses = [done["losses"][0], done["losses"][-1]]
        scene.note(f"Seq2SeqTrainer {turn}", {"samples_per_second": round(stock[-1], 2), "first_and_last_loss": losses})
        rate, other = statistics.median(ours), statistics.median(stock)
        scene.note("samples_per_second", {"summtune": round(rate, 2), "Seq2SeqTrainer": round(other, 2)})
        scene.note("ratio", round(rate / other, 2))
        if bf16 or scene.rehearsed:
            _note_utilisation(scene, rate)


def _note_utilisation(scene: Scene, rate: float) -> None:
    """Note what the model needs over what a matrix product reaches here (PaLM, 2022, appendix B)."""
    needed = scene.results.get("inputs", {}).get("operations_of_a_pair")
    reached = scene.results.get("machine", {}).get("matrix_product_tflops")
    if needed and reached:
        scene.note("model_flop_utilisation", round(needed * rate / (reached * 1e12), 4))


def lora(scene: Scene) -> None:
    """Times LoRA against full fine-tuning."""
    result = scene.train("lora", adapter="lora")
    scene.note("lora", result)
    full = scene.results.get("training", {}).get("samples_per_second", {}).get("summtune")
    if full is None:
        again = scene.train("full")
        scene.note("full", again)
        full = again["samples_per_second"]
    scene.note("ratio", round(result["samples_per_second"] / full, 2))


def qlora(scene: Scene) -> None:
    """Trains LoRA on weights of four bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingError("bitsandbytes is not installed")
    if scene.rehearsed:
        raise MissingError("qlora needs a CUDA device")
    scene.note("qlora", scene.train("qlora", adapter="qlora"))


def compiled(scene: Scene) -> None:
    """Times training with `torch_compile`."""
    if scene.rehearsed:
        raise MissingError("compiling takes minutes on a CPU")
    scene.note("compiled", scene.train("compiled", torch_compile=True))


def prediction(scene: Scene) -> None:
    """Times prediction against Seq2SeqTrainer.predict and one dialogue at a time, and compares the texts in fp32."""
    setting = scene.setting
    rows = dialogues(setting.predicted)
    data = write_rows(scene.own / "test.jsonl", rows)
    few = write_rows(scene.own / "few.jsonl", rows[:: setting.predicted // 8])
    (scene.own / "predicting").symlink_to(scene.model)  # speed_prediction writes its model there
    words = ["--max-new-tokens", NEW_TOKENS]
    programs = speed_prediction.compared(setting, data, words)
    programs["one at a time fp32"] = few, ["--how", "one_by_one", *words]
    order = sorted(programs, key=lambda name: scene.precision not in name)
    rates: dict[str, float] = {}
    texts: dict[str, list[str]] = {}
    for name in order:
        seen, written = speed_prediction.predicted(scene.own, setting, 1, {name: programs[name]})
        rates[name], texts[name] = round(seen[name][0], 2), written[name]
        scene.note("dialogues_per_second", rates)
        ours, theirs = (f"{who} {name.split()[-1]}" for who in ("summtune", "Seq2SeqTrainer"))
        if ours in texts and theirs in texts:
            scene.note(f"ratio {name.split()[-1]}", round(rates[ours] / rates[theirs], 2))
            scene.note(f"equal texts {name.split()[-1]}", _equal(texts[ours], texts[theirs]))
    scene.note(
        "equal texts, one at a time", _equal(texts["summtune fp32"][:: setting.predicted // 8], texts[order[-1]])
    )


def decoder(scene: Scene) -> None:
    """Times a decoder-only model: LoRA against SFTTrainer where TRL is installed, and prompts with a shared prefix."""
    import decoder_speed
    from stand_ins import write_decoder

    setting = dataclasses.replace(
        scene.setting,
        batch=min(16, scene.setting.batch),
        trained=min(16 * 16, scene.setting.trained),
        predicted=min(128, scene.setting.predicted),
        predicted_at_once=min(64, scene.setting.predicted_at_once),
    )
    has_trl = importlib.util.find_spec("trl") is not None
    scene.note("trl", importlib.metadata.version("trl") if has_trl else "not installed: SFTTrainer is not measured")
    model = write_decoder(scene.own / "decoder", scene.setting.size)
    one = decoder_speed.Scene(scene.own, model, sys.executable if has_trl else None, setting, setting.batch)
    precision = {"bf16": scene.setting.bf16}
    if not scene.setting.bf16:
        precision = {"fp32": False}
    training = decoder_speed.training(one, 1, precision)
    scene.note("training", training)
    rate = training["samples_per_second"][f"summtune {next(iter(precision))}"]
    tokens, of_summary = decoder_speed.mean_tokens(one)
    scene.note("tokens_per_second", round(rate * tokens))
    reached = scene.results.get("machine", {}).get("matrix_product_tflops")
    if reached:
        needed = decoder_operations(model, tokens, of_summary)
        scene.note("model_flop_utilisation", round(needed * rate / (reached * 1e12), 4))
    scene.note("prediction", decoder_speed.prediction(one, 1))


def vllm(scene: Scene) -> None:
    """Times generation by vLLM against transformers, for a decoder-only model, and compares the texts."""
    if not os.environ.get("SUMMTUNE_VLLM"):
        raise MissingError("SUMMTUNE_VLLM does not name vLLM's executable")
    from stand_ins import write_decoder

    model = write_decoder(scene.own / "decoder", scene.setting.size)
    data = write_rows(scene.own / "test.jsonl", dialogues(scene.setting.predicted))
    precisions = (False, True) if scene.setting.bf16 else (False,)
    for bf16 in precisions:
        texts, rates = {}, {}
        for engine in ("transformers", "vllm"):
            recipe, run_dir = scene.own / f"{engine}.json", scene.own / f"{engine}-{bf16}"
            keys: dict[str, Any] = {
                "kind": "prompt",
                "base_model": str(model),
                "chat_template": "none",
                "test_datasets": [{"path": str(data)}],
                "bf16": bf16,
                "generation": {"engine": engine, "max_new_tokens": NEW_TOKENS},
            }
            recipe.write_text(json.dumps(keys))
            with running(scene, recipe, run_dir) as command:
                wait(command, run_dir)
            events = map(json.loads, (run_dir / "logs" / "events.jsonl").read_text().splitlines())
            seconds = next(row["seconds"] for row in events if row.get("what") == "generation")
            rates[engine] = round(scene.setting.predicted / seconds, 2)
            lines = (run_dir / "predictions.jsonl").read_text().splitlines()
            texts[engine] = [json.loads(line)["prediction"] for line in lines]
        precision = "bf16" if bf16 else "fp32"
        scene.note(f"dialogues_per_second {precision}", rates)
        scene.note(f"ratio {precision}", round(rates["vllm"] / rates["transformers"], 2))
        scene.note(f"equal texts {precision}", _equal(texts["vllm"], texts["transformers"]))


def _equal(some: list[str], others: list[str]) -> float:
    return round(statistics.fmean(one == other for one, other in zip(some, others, strict=True)), 4)


def losses(scene: Scene) -> None:
    """Compares the losses of the same steps with those of Seq2SeqTrainer, without dropout."""
    setting = dataclasses.replace(scene.setting, batch=min(16, scene.setting.batch))
    found = speed_training.equal_losses(scene.own, setting, 2 if scene.rehearsed else 5)
    scene.note("largest_difference", found["largest_difference"])
    assert found["largest_difference"]["fp32"] < 1e-2, "the losses differ"


def zero(scene: Scene) -> None:
    """Times ZeRO on one process against plain training."""
    scene.note("plain", scene.train("plain"))
    for stage in (1, 2, 3):
        scene.note(f"ZeRO-{stage}", scene.train(f"zero{stage}", deepspeed=f"ds_configs/zero{stage}.json"))


def offload(scene: Scene) -> None:
    """Times ZeRO with CPU offload, whose optimizer is compiled at its first use."""
    from summtune.machine.compiling import missing_for_compiling

    missing = missing_for_compiling()
    if scene.setting.cuda:
        from torch.utils.cpp_extension import CUDA_HOME

        missing += [] if CUDA_HOME else ["the CUDA toolkit (nvcc)"]
    if missing:
        raise MissingError(f"DeepSpeed's optimizer cannot be compiled without {', '.join(missing)}")
    steps = scene.steps if scene.rehearsed else 12
    for stage in (2, 3):
        name = f"zero{stage}_offload"
        scene.note(name, scene.train(name, steps=steps, deepspeed=f"ds_configs/{name}.json"))
