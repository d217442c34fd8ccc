"""The model card ``model/README.md``: base model, training, scores, and how to use the model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar, get_args

import yaml
from typing_extensions import assert_never

from summtune.base import numbers
from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json
from summtune.base.places import BUILTIN_MODELS, is_local
from summtune.base.strict import StrictModel, parse_model, read_model
from summtune.prompts.formats import ChatFormat, PromptFormat, TextFormat
from summtune.prompts.templates import template_text
from summtune.recipe.families import Family
from summtune.report.card_code import card_code
from summtune.report.card_recipe import CardRecipe
from summtune.report.contents import protocol_sentence
from summtune.report.markdown import code, fenced
from summtune.report.recipe_text import recipe_text
from summtune.report.table import Table, escape_markdown, to_markdown
from summtune.runs.comparison import Comparison
from summtune.runs.metrics import METRICS_FILE, RunMetrics
from summtune.runs.run_plan import PLAN_FILE, ModelView, PlanView, read_plan_view
from summtune.runs.statistics import STATS_FILE, TRAINING_FILE, Precision, PredictionStats, Training

T = TypeVar("T", bound=StrictModel)


def model_card(run_dir: Path, comparison: Comparison | None = None) -> str:
    """Return the text of ``model/README.md``.

    Without ``metrics.json`` (training ends before the evaluation) the card says that the model is not scored yet.

    Args:
        run_dir: of a train run.
        comparison: in which this model was one of the systems; the card contains its verdict.

    Raises:
        RunDirectoryError: ``run_dir`` has no ``plan.json``, its run trains no model, or a file is damaged.
    """
    if not (run_dir / PLAN_FILE).is_file():
        raise RunDirectoryError(f"{run_dir} is not a run (got no plan.json); give the directory of a train run")
    plan = read_plan_view(run_dir / PLAN_FILE)
    if plan.kind != "train":
        raise RunDirectoryError(f"{run_dir} trains no model (got kind {plan.kind}); give the directory of a train run")
    recipe = parse_model(CardRecipe, plan.recipe, f"{run_dir / PLAN_FILE}, recipe")
    training = _read_if_there(Training, run_dir / TRAINING_FILE)
    stats = _read_if_there(PredictionStats, run_dir / STATS_FILE)
    # In which the run generated or, before it has, trained.
    precision = (stats and stats.precision) or (training and training.precision) or "fp32"
    form = _form(run_dir, plan, recipe)
    library = "transformers" if recipe.adapter is None else "peft"
    made = f"{code(recipe.base_model)}, fine-tuned to summarize dialogues ({recipe.adapter or 'all weights'})."
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(recipe, library), sort_keys=False, allow_unicode=True)}---",
        f"# {escape_markdown(plan.name)}",
        f"{made} {_training_sentence(training)}" if training is not None else made,
        "## Scores",
        *_scores(_read_if_there(RunMetrics, run_dir / METRICS_FILE)),
        *(_verdict(comparison) if comparison is not None else ()),
        "## How to use it",
        fenced(_command(run_dir), "sh"),
        "or, in Python, in the folder that contains `model/`:",
        fenced(
            card_code(recipe, form, _family(run_dir, plan.model), precision, _model_type(run_dir, plan.model)), "python"
        ),
        " ".join(_usage_sentences(recipe, plan.model, precision)),
        *_prompt(form),
        "## Recipe",
        fenced(recipe_text(plan.recipe), "yaml"),
        f"Made by summtune{_versions(plan.versions)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _read_if_there(model: type[T], path: Path) -> T | None:
    return read_model(model, path) if path.is_file() else None


def _command(run_dir: Path) -> str:
    return f"summtune summarize {shlex.quote(run_dir.name)} dialogue.txt  # the run directory"


def _front_matter(recipe: CardRecipe, library: str) -> dict[str, str | list[str]]:
    """Return the metadata for the hub, without local paths: the hub refuses a card that names them as models."""
    adapter = [] if recipe.adapter is None else [recipe.adapter]
    sources = [hub_id for each in recipe.datasets if (hub_id := _hub_id(each.path)) is not None and "/" in hub_id]
    matter: dict[str, str | list[str] | None] = {
        "base_model": _hub_id(recipe.base_model),
        "library_name": library,
        "tags": ["summarization", "dialogue", "summtune", *adapter],
        "datasets": sources,
    }
    return {key: value for key, value in matter.items() if value}


def _hub_id(name: str) -> str | None:
    """Return the name if it can be a hub id; None for local files and builtin names."""
    fits = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name) and not name.startswith("builtin/")
    return name if fits and not re.search(r"\.(jsonl?|csv|tsv|parquet|arrow)$", name) else None


def _training_sentence(training: Training) -> str:
    trained = numbers.parameters(training.trainable_parameters, training.total_parameters)
    return (
        f"{trained} of {numbers.count(training.total_parameters)} parameters were trained for "
        f"{numbers.count(training.steps)} optimizer steps in {numbers.duration(training.seconds)}."
    )


def _scores(scores: RunMetrics | None) -> list[str]:
    if scores is None:
        return ["Not scored yet."]
    level = numbers.percent(scores.protocol.bootstrap.confidence)
    anchors = [anchor for anchor in (scores.floor, scores.ceiling) if anchor is not None]
    rows = tuple(
        (
            numbers.metric_title(name),
            numbers.score(name, each.value),
            numbers.interval(name, each.ci_low, each.ci_high),
            *(numbers.score(name, anchor.metrics[name].value) if name in anchor.metrics else "–" for anchor in anchors),
        )
        for name, each in scores.metrics.items()
    )
    titles = (anchor.name.capitalize() for anchor in anchors)
    table = to_markdown(Table(("Metric", "Score", f"{level} interval", *titles), rows)).rstrip()
    return [table, f"On {numbers.count(scores.n)} dialogues. {protocol_sentence(scores.protocol, scores.metrics)}"]


def _verdict(comparison: Comparison) -> list[str]:
    names = [escape_markdown(system.name) for system in comparison.systems]
    sentences = "\n".join(f"- {escape_markdown(sentence)}" for sentence in comparison.verdict)
    return [f"Compared with the other systems of one comparison ({', '.join(names)}) on the same dialogues:", sentences]


def _prompt(form: PromptFormat) -> list[str]:
    """Return what the card says of the prompts that the model was trained with."""
    match form:
        case TextFormat():
            return ["The model was trained with this prompt template:", fenced(form.template)]
        case ChatFormat():
            turns = "one user turn" if form.system_prompt is None else "a system turn and one user turn"
            return [
                f"The model was trained with {turns}, which the chat template saved with the tokenizer writes. "
                "The content of the user turn:",
                fenced(form.template),
                *(["That of the system turn:", fenced(form.system_prompt)] if form.system_prompt is not None else []),
            ]
        case _:
            assert_never(form)


class _Written(StrictModel):
    """The field of plan.json that says how prompts are written."""

    prompt: PromptFormat


def _form(run_dir: Path, plan: PlanView, recipe: CardRecipe) -> PromptFormat:
    """Return how the prompts of the run are written; as plain text if it is older than chat templates."""
    if plan.prompt is None:
        return TextFormat(template=template_text(recipe.prompt_template))
    return parse_model(_Written, {"prompt": plan.prompt}, str(run_dir / PLAN_FILE)).prompt


def _family(run_dir: Path, model: ModelView | None) -> Family:
    """Return the family of the model.

    Raises:
        RunDirectoryError: the plan does not name a family that this version knows.
    """
    named = None if model is None else model.family
    families: tuple[Family, ...] = get_args(Family)
    if named not in families:
        raise RunDirectoryError(
            f"{run_dir / PLAN_FILE} names a family that this version of summtune does not know (got {named!r}); give "
            "the directory of another run"
        )
    return families[families.index(named)]


def _model_type(run_dir: Path, model: ModelView | None) -> str | None:
    """Return the model_type of the trained model, or else of its base; None if neither folder has a config.json."""
    for folder in (run_dir / "model", *([Path(model.folder)] if model is not None and model.folder else [])):
        if (folder / "config.json").is_file():
            config = read_json(folder / "config.json")
            model_type = config.get("model_type") if isinstance(config, dict) else None
            return model_type if isinstance(model_type, str) else None
    return None


def _usage_sentences(recipe: CardRecipe, model: ModelView | None, precision: Precision) -> Iterator[str]:
    """Yield what one has to know to get the summaries that were scored."""
    yield (
        "`generation_config.json` contains the generation settings of the evaluation. With these, the template and "
        "sequence_len, this code reproduces the scored summaries, except for dialogues that contain the text of a "
        "control token such as `</s>`: summtune encodes it as text, and this code does not."
    )
    if precision == "bf16":
        yield "In bf16, on another device or in another batch, a word can differ if two have almost the same score."
    if recipe.generation.do_sample:
        yield "The summaries were sampled, so each call gives different ones."
    if recipe.adapter is None:
        return
    if recipe.base_model in BUILTIN_MODELS:
        yield (
            "The base model is bundled with summtune, and `adapter_config.json` names its folder on the training "
            "machine. On another machine, install summtune and change that path to the package's folder `assets`."
        )
    elif is_local(recipe.base_model):
        yield (
            "The base model is a folder on the training machine; if it has moved, change "
            "`base_model_name_or_path` in `adapter_config.json`."
        )
    elif model is not None and model.revision:
        yield f"The base model is {code(recipe.base_model)} at revision {code(model.revision)}."


def _versions(versions: Mapping[str, str]) -> str:
    return (
        f" with {', '.join(escape_markdown(f'{package} {version}') for package, version in versions.items())}"
        if versions
        else ""
    )
