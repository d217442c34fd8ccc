"""Writes the model card that lies in ``model/``: what was trained, from what, how well it does, how to load it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from summtune.errors import RunDirectoryError
from summtune.files import read_json
from summtune.report import numbers
from summtune.report.contents import protocol_sentence
from summtune.report.markdown import code, fenced
from summtune.report.recipe_text import recipe_text
from summtune.report.table import Table, escape_markdown, to_markdown

_LOADING = {
    "transformers": """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model = AutoModelForSeq2SeqLM.from_pretrained("model")
tokenizer = AutoTokenizer.from_pretrained("model")""",
    "peft": """\
from peft import AutoPeftModelForSeq2SeqLM
from transformers import AutoTokenizer

# Reads the base model, too, as adapter_config.json names it: a hub id, or a folder of the machine that trained.
model = AutoPeftModelForSeq2SeqLM.from_pretrained("model")
tokenizer = AutoTokenizer.from_pretrained("model")""",
}


def model_card(run_dir: Path, comparison: Mapping[str, Any] | None = None) -> str:
    """Return the text of ``model/README.md``.

    Without ``metrics.json`` (training ends before the evaluation) the card says that the scores are still to come.

    Args:
        run_dir: of a train run.
        comparison: ``comparison.json`` of a comparison in which this model stood; its verdict goes into the card.

    Raises:
        RunDirectoryError: ``run_dir`` has no ``plan.json``, or its run trains no model.
    """
    if not (run_dir / "plan.json").is_file():
        raise RunDirectoryError(f"{run_dir} is not a run (got no plan.json); name the directory of a train run")
    plan = read_json(run_dir / "plan.json")
    if plan["kind"] != "train":
        raise RunDirectoryError(
            f"{run_dir} trains no model (got kind {plan['kind']}); name the directory of a train run"
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
        f"{fenced(_command(run_dir), 'sh')}\n\nor, in Python:",
        fenced(_LOADING[library], "python"),
        _prompt_sentence(recipe),
        "## Recipe",
        fenced(recipe_text(recipe), "yaml"),
        f"Made by summtune{_versions(plan.get('versions', {}))}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _command(run_dir: Path) -> str:
    return f"summtune summarize {shlex.quote(run_dir.name)} dialogue.txt  # the run directory"


def _front_matter(recipe: Mapping[str, Any], library: str) -> dict[str, Any]:
    """Return what the hub reads. Local paths stay out: the hub refuses a card that names them as models."""
    sources = [source["path"] for source in recipe.get("datasets") or []]
    tags = ["summarization", "dialogue", "summtune", *([recipe["adapter"]] if recipe.get("adapter") else [])]
    matter: dict[str, Any] = {"base_model": _hub_id(recipe["base_model"]), "library_name": library, "tags": tags}
    matter["datasets"] = [hub_id for hub_id in map(_hub_id, sources) if hub_id and "/" in hub_id]
    return {key: value for key, value in matter.items() if value}


def _hub_id(name: str) -> str | None:
    """Return the name if it can be one of the hub's and does not name a local file or something built in."""
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


def _prompt_sentence(recipe: Mapping[str, Any]) -> str:
    template = recipe.get("prompt_template")
    return f"The model was trained with its dialogues in this prompt:\n\n{fenced(template)}" if template else ""


def _versions(versions: Mapping[str, str]) -> str:
    return (
        f" with {', '.join(escape_markdown(f'{package} {version}') for package, version in versions.items())}"
        if versions
        else ""
    )
