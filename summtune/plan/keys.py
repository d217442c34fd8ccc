"""The keys of stages: hashes of everything that determines what a stage leaves, the last of which names the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field

from summtune.base.hashing import content_sha256, hash_of
from summtune.base.places import BUILTIN_DATASETS, is_local, model_folder, package_path
from summtune.base.version import __version__
from summtune.recipe.adapters import keys_of_adapters
from summtune.recipe.keys import (
    EndpointRecipe,
    LocalRecipe,
    PromptRecipe,
    RunRecipe,
    TrainRecipe,
    data_keys,
    identity_keys,
)
from summtune.recipe.loading import LoadedRecipe
from summtune.recipe.sections import COLUMN_KEYS, ComparedPredictions, Section

FIRST_READ_BY: dict[str, tuple[str, ...]] = {
    "train": (
        "kind", "base_model", "endpoint", "revision_of_model", "seed", "datasets", "val_set_size", "val_datasets",
        "prompt_template", "chat_template", "system_prompt", "chat_template_kwargs",
        "sequence_len", "target_len", "long_dialogues", "bf16", "load_in_4bit", "tf32",
        "adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "peft_use_dora", "peft_use_rslora",
        "lora_target_linear", "peft_init_lora_weights", "loraplus_lr_ratio",
        "ia3_target_modules", "ia3_feedforward_modules", "num_virtual_tokens", "prompt_tuning_init_text",
        "num_epochs", "max_steps", "learning_rate", "lr_scheduler", "warmup_ratio", "warmup_steps", "weight_decay",
        "max_grad_norm", "optimizer", "group_by_length", "early_stopping_patience", "eval_steps",
    ),
    "predict": ("test_datasets", "shots", "exemplars", "generation"),
    "evaluate": ("evaluation",),
}  # fmt: skip
"""The first stage that reads each recipe key that can change a result, sections as a whole.

No earlier stage may read it. The predict stage of a prompted model, which is its first, also has those of training.
"""


ENDPOINT_KEYS = ("url", "model", "extra_body")
"""The keys of an endpoint that can change a result; the others are limits, and what it costs."""


class PromptKeys(Section):
    """The keys of the stages of a prompted model; each hash is 64 hex digits."""

    predict: str = Field(description="the model, the test data, the prompt and the generation settings")
    evaluate: str = Field(description="the key of predict and the protocol: the identity of the run")
    report: str = Field(description="the key of evaluate, the recipe as given and the version of summtune")


class TrainKeys(PromptKeys):
    """The keys of the stages of a training; that of predict contains the key of train instead of a model."""

    train: str = Field(description="the base model, the training and validation data and the training settings")


StageKeys: TypeAlias = PromptKeys | TrainKeys


def identity_of(recipe: RunRecipe, global_batch: int | None, model_sha256: str | None) -> str:
    """Return the key of the evaluate stage, a hash of what determines the result of a prompt or train recipe.

    It covers every key of the kind except those of logging, saving and launching, the contents of local models and data
    instead of their paths, and the global batch instead of its factors. The same training on another layout therefore
    keeps its identity.

    Args:
        recipe: paths resolved.
        global_batch: pairs per optimizer step; None for a prompt recipe.
        model_sha256: over the content of a local or builtin model; None for a hub model.
    """
    return hash_of(_values(recipe, global_batch, model_sha256))


def outputs_identity(entry: ComparedPredictions, name: str, like: RunRecipe) -> str:
    """Return a hash of what determines the scores of a file of outputs, and the name under which they are reported.

    Args:
        entry: of a comparison, its path absolute.
        name: of the system.
        like: the recipe, paths resolved, whose test data and evaluation settings the outputs are scored with.
    """
    file = Path(entry.predictions)
    values = _values(like, None, None)
    return hash_of(
        {
            "name": name,
            "predictions": content_sha256(file),
            "format": file.suffix.lower(),
            "columns": [getattr(entry, key) for key in COLUMN_KEYS],
            "test_datasets": values["test_datasets"],
            "evaluation": values["evaluation"],
        }
    )


def prompt_keys(loaded: LoadedRecipe, recipe: PromptRecipe | EndpointRecipe, model_sha256: str | None) -> PromptKeys:
    """Return the keys of the stages of a prompt recipe.

    Args:
        loaded: the recipe as given.
        recipe: paths resolved.
        model_sha256: over the content of a local or builtin model; None for one on the hub or behind an API.
    """
    return PromptKeys(**_keys_after_training(loaded, recipe, _values(recipe, None, model_sha256)))


def train_keys(loaded: LoadedRecipe, recipe: TrainRecipe, global_batch: int, model_sha256: str | None) -> TrainKeys:
    """Return the keys of the stages of a train recipe.

    Args:
        loaded: the recipe as given.
        recipe: paths resolved.
        global_batch: pairs per optimizer step.
        model_sha256: over the content of a local or builtin model; None for a hub model.
    """
    values = _values(recipe, global_batch, model_sha256)
    return TrainKeys(
        train=hash_of(_without(values, "predict", "evaluate")), **_keys_after_training(loaded, recipe, values)
    )


def _keys_after_training(loaded: LoadedRecipe, recipe: RunRecipe, values: dict[str, Any]) -> dict[str, str]:
    shown = [values, loaded.name, recipe.model_dump(mode="json"), loaded.document.text.hex(), __version__]
    return {
        "predict": hash_of(_without(values, "evaluate")),
        "evaluate": hash_of(values),
        "report": hash_of(shown),
    }


def _without(values: dict[str, Any], *stages: str) -> dict[str, Any]:
    """Return the values without those that are first read by the given stages."""
    left_out = {key for stage in stages for key in FIRST_READ_BY[stage]}
    return {key: value for key, value in values.items() if key not in left_out}


def _values(recipe: RunRecipe, global_batch: int | None, model_sha256: str | None) -> dict[str, Any]:
    """Return what determines the result of a recipe, by recipe key; see `identity_of`."""
    resolved = recipe.model_dump(mode="json")
    values: dict[str, Any] = {key: resolved[key] for key in identity_keys(recipe)}
    if isinstance(recipe, TrainRecipe):
        _settle_adapter(values)
    if isinstance(recipe, EndpointRecipe):
        values["endpoint"] = {key: values["endpoint"][key] for key in ENDPOINT_KEYS}
    else:
        _settle_model(values, recipe, model_sha256)
    values["global_batch"] = global_batch
    for key, _ in data_keys(recipe):
        for source in values[key]:
            source["path"] = _data_identity(source["path"])
            # Runs that are older than these keys keep their identity.
            unread = ("type", "messages_field") if source["type"] == "columns" else ("dialogue_field", "summary_field")
            for name in unread:
                del source[name]
    if values.get("val_datasets") is None:
        values.pop("val_datasets", None)  # runs that are older than the key keep their identity
    _leave_out_newer_keys(values)
    values["generation"].pop("batch_size")  # like the micro batch, it does not change the result
    metrics = values["evaluation"]["metrics"]
    values["evaluation"]["metrics"] = [content_sha256(Path(name)) if is_local(name) else name for name in metrics]
    for arguments in values["evaluation"]["metric_arguments"].values():
        for key, value in arguments.items():
            if isinstance(value, str) and is_local(value) and Path(value).exists():
                arguments[key] = content_sha256(Path(value))
    return values


def _settle_model(values: dict[str, Any], recipe: LocalRecipe, model_sha256: str | None) -> None:
    """Replace what is on this machine by the hash of its content."""
    if not values["load_in_4bit"]:
        del values["load_in_4bit"]
    if model_sha256 is not None:
        values["base_model"] = model_sha256
    if is_local(recipe.chat_template):  # a file
        values["chat_template"] = content_sha256(Path(recipe.chat_template))


def _leave_out_newer_keys(values: dict[str, Any]) -> None:
    """Remove keys at their defaults that older runs do not have, so that these keep their identity."""
    for key, default in (("chat_template", "auto"), ("system_prompt", None), ("chat_template_kwargs", {})):
        if key in values and values[key] == default:
            del values[key]
    for key, default in (("stop", None), ("engine", "transformers")):
        if values["generation"][key] == default:
            del values["generation"][key]
    if "exemplars" in values and values["exemplars"]["show_as"] == "turns":
        del values["exemplars"]["show_as"]


def _settle_adapter(values: dict[str, Any]) -> None:
    """Remove adapter keys without a value, so that a new key does not change the identity of older runs.

    The default of LoRA's layers was once q and v: older runs, and those without an adapter, keep their identity. QLoRA
    has two spellings, and the one with ``load_in_4bit`` is newer.
    """
    for _, key, _ in keys_of_adapters():
        if values[key] is None:
            del values[key]
    values.setdefault("lora_target_modules", ["q", "v"])
    if values["adapter"] != "prompt_tuning":
        del values["num_virtual_tokens"]
    if values["adapter"] == "lora" and values["load_in_4bit"]:
        values["adapter"] = "qlora"
    if values["adapter"] == "qlora":
        values["load_in_4bit"] = None


def model_identity(recipe: LocalRecipe) -> str | None:
    """Return the hash of the content of a local or builtin model; None for a hub model."""
    folder = model_folder(recipe.base_model)
    return None if folder is None else content_sha256(folder)


def _data_identity(path: str) -> str:
    if path in BUILTIN_DATASETS:
        return content_sha256(package_path("data/builtin"))
    return content_sha256(Path(path)) if is_local(path) else path
