"""The model card ``model/README.md``: base model, training, scores, and how to use the model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from summtune.base import numbers
from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json
from summtune.base.places import BUILTIN_MODELS, is_local
from summtune.prompts.templates import template_text
from summtune.report.card_code import card_code
from summtune.report.contents import protocol_sentence
from summtune.report.markdown import code, fenced
from summtune.report.recipe_text import recipe_text
from summtune.report.table import Table, escape_markdown, to_markdown


def model_card(run_dir: Path, comparison: Mapping[str, Any] | None = None) -> str:
    """Return the text of ``model/README.md``.

    Without ``metrics.json`` (training ends before the evaluation) the card says that the model is not scored yet.

    Args:
        run_dir: of a train run.
        comparison: ``comparison.json`` of a comparison that includes this model; the card contains its verdict.

    Raises:
        RunDirectoryError: ``run_dir`` has no ``plan.json``, or its run trains no model.
    """
    if not (run_dir / "plan.json").is_file():
        raise RunDirectoryError(f"{run_dir} is not a run (got no plan.json); give the directory of a train run")
    plan = read_json(run_dir / "plan.json")
    if plan["kind"] != "train":
        raise RunDirectoryError(
            f"{run_dir} trains no model (got kind {plan['kind']}); give the directory of a train run"
        )
    recipe = plan["recipe"]
    library = "peft" if recipe.get("adapter") else "transformers"
    facts = [
        f"{code(recipe['base_model'])}, fine-tuned to summarize dialogues ({recipe.get('adapter') or 'all weights'})."
    ]
    facts += _training_sentences(run_dir / "training.json")
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(recipe, library), sort_keys=False, allow_unicode=True)}---",
        f"# {escape_markdown(plan['name'])}",
        " ".join(facts),
        "## Scores",
        *_scores(run_dir / "metrics.json"),
        *(_verdict(comparison) if comparison else ()),
        "## How to use it",
        fenced(_command(run_dir), "sh"),
        "or, in Python, in the folder that contains `model/`:",
        fenced(card_code(recipe, _precision(run_dir), _model_type(run_dir, plan)), "python"),
        " ".join(_usage_sentences(recipe, plan.get("model") or {}, _precision(run_dir))),
        "The model was trained with this prompt template:",
        fenced(template_text(recipe["prompt_template"])),
        "## Recipe",
        fenced(recipe_text(recipe), "yaml"),
        f"Made by summtune{_versions(plan.get('versions', {}))}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(run_dir: Path) -> str:
    return f"summtune summarize {shlex.quote(run_dir.name)} dialogue.txt  # the run directory"


def _front_matter(recipe: Mapping[str, Any], library: str) -> dict[str, Any]:
    """Return the metadata for the hub, without local paths: the hub refuses a card that names them as models."""
    sources = [source["path"] for source in recipe.get("datasets") or []]
    tags = ["summarization", "dialogue", "summtune", *([recipe["adapter"]] if recipe.get("adapter") else [])]
    matter: dict[str, Any] = {"base_model": _hub_id(recipe["base_model"]), "library_name": library, "tags": tags}
    matter["datasets"] = [hub_id for hub_id in map(_hub_id, sources) if hub_id and "/" in hub_id]
    return {key: value for key, value in matter.items() if value}


def _hub_id(name: str) -> str | None:
    """Return the name if it can be a hub id; None for local files and builtin names."""
    fits = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name) and not name.startswith("builtin/")
    return name if fits and not re.search(r"\.(jsonl?|csv|tsv|parquet|arrow)$", name) else None


def _training_sentences(path: Path) -> Sequence[str]:
    if not path.is_file():
        return []
    training = read_json(path)
    trained = numbers.parameters(training["trainable_parameters"], training["total_parameters"])
    sentences = [f"{trained} of {numbers.count(training['total_parameters'])} parameters were trained"]
    if training.get("steps") is not None:
        sentences.append(f"for {numbers.count(training['steps'])} optimizer steps")
    if training.get("seconds") is not None:
        sentences.append(f"in {numbers.duration(training['seconds'])}")
    return [" ".join(sentences) + "."]


def _scores(path: Path) -> list[str]:
    if not path.is_file():
        return ["Not scored yet."]
    metrics = read_json(path)
    level = numbers.percent(metrics["protocol"]["bootstrap"]["confidence"])
    anchors = [metrics[which] for which in ("floor", "ceiling") if metrics[which] is not None]
    rows = tuple(
        (
            numbers.metric_title(name),
            numbers.score(name, each["value"]),
            numbers.interval(name, each["ci_low"], each["ci_high"]),
            *(
                numbers.score(name, anchor["metrics"][name]["value"]) if name in anchor["metrics"] else "–"
                for anchor in anchors
            ),
        )
        for name, each in metrics["metrics"].items()
    )
    titles = (anchor["name"].capitalize() for anchor in anchors)
    table = to_markdown(Table(("Metric", "Score", f"{level} interval", *titles), rows)).rstrip()
    return [
        table,
        f"On {numbers.count(metrics['n'])} dialogues. {protocol_sentence(metrics['protocol'], metrics['metrics'])}",
    ]


def _verdict(comparison: Mapping[str, Any]) -> list[str]:
    names = [escape_markdown(system["name"]) for system in comparison["systems"]]
    sentences = "\n".join(f"- {escape_markdown(sentence)}" for sentence in comparison["verdict"])
    return [f"Compared with the other systems of one comparison ({', '.join(names)}) on the same dialogues:", sentences]


def _precision(run_dir: Path) -> str:
    """Return the precision of the run's predictions, or of its training if there are none yet."""
    for name in ("prediction_stats.json", "training.json"):
        if (run_dir / name).is_file() and "precision" in (record := read_json(run_dir / name)):
            return str(record["precision"])
    return "fp32"


def _model_type(run_dir: Path, plan: Mapping[str, Any]) -> str | None:
    for folder in (run_dir / "model", (plan.get("model") or {}).get("folder")):
        if folder and (Path(folder) / "config.json").is_file():
            model_type: str | None = read_json(Path(folder) / "config.json").get("model_type")
            return model_type
    return None


def _usage_sentences(recipe: Mapping[str, Any], model: Mapping[str, Any], precision: str) -> Iterator[str]:
    """Yield what users need to know to reproduce the summaries that were scored."""
    yield (
        "`generation_config.json` contains the generation settings of the evaluation. With these, the template and "
        "sequence_len, this code reproduces the scored summaries, except for dialogues that contain the text of a "
        "control token such as `</s>`: summtune encodes it as text, and this code does not."
    )
    if precision == "bf16":
        yield "In bf16, on another device or in another batch, a word can differ if two have almost the same score."
    if recipe["generation"]["do_sample"]:
        yield "The summaries were sampled, so each call gives different ones."
    if not recipe.get("adapter"):
        return
    if recipe["base_model"] in BUILTIN_MODELS:
        yield (
            "The base model is bundled with summtune, and `adapter_config.json` names its folder on the training "
            "machine. On another machine, install summtune and change that path to the package's folder `assets`."
        )
    elif is_local(recipe["base_model"]):
        yield (
            "The base model is a folder on the training machine; if it has moved, change "
            "`base_model_name_or_path` in `adapter_config.json`."
        )
    elif model.get("revision"):
        yield f"The base model is {code(recipe['base_model'])} at revision {code(model['revision'])}."


def _versions(versions: Mapping[str, str]) -> str:
    return (
        f" with {', '.join(escape_markdown(f'{package} {version}') for package, version in versions.items())}"
        if versions
        else ""
    )
