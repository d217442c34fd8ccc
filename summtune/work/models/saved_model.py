"""Writes model/ and reopens it, to check that it contains exactly what was trained."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from summtune.base.errors import StageError
from summtune.work.models.adapter_start import AdapterStart
from summtune.work.models.adapters import starting_value
from summtune.work.models.loading import alias_names, mark_untied, publish


class ModelWriter:
    """Writes the model of a training, or its adapter, with generation settings and tokenizer.

    Args:
        accelerator: of the training.
        model: before accelerate wraps it, with its adapter.
        tokenizer: saved with the model.
    """

    def __init__(self, accelerator: Any, model: PreTrainedModel | PeftModel, tokenizer: Any) -> None:
        self.accelerator = accelerator
        self.model = model
        self.tokenizer = tokenizer
        self._aliases = alias_names(model)
        self._start = AdapterStart.of(model)

    @property
    def copies_weights(self) -> bool:
        """Whether DeepSpeed returns copies of the weights, so that shared ones must be left out by name."""
        return bool(self.accelerator.distributed_type == DistributedType.DEEPSPEED)

    def write(self, folder: Path, weights: Mapping[str, torch.Tensor] | None) -> None:
        """Write the model's files; only one rank calls this.

        Args:
            folder: created if it does not exist.
            weights: under each of their names; None for those in memory.
        """
        state = {name: weights[name] for name in weights if name not in self._aliases} if weights else None
        if isinstance(self.model, PeftModel):
            # The embeddings under an adapter are the base's: peft would store them again.
            self.model.save_pretrained(str(folder), state_dict=state, save_embedding_layers=False)
            if self._start is not None:
                self._start.rewrite(folder)
            self.model.get_base_model().generation_config.save_pretrained(folder)
        else:
            self.model.save_pretrained(folder, state_dict=state)
        self.tokenizer.save_pretrained(folder)

    def stored_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that `write` stores, under each of their names."""
        return weights_to_save(self.model, self._start)

    def save(self, model: Any, run_dir: Path) -> None:
        """Write ``model/``, first under another name, so that it is complete or absent; every rank calls this.

        Args:
            model: as accelerate wraps it.
            run_dir: of the run.

        Raises:
            StageError: the files differ from the model in memory, or cannot be used (`check_saved`).
        """
        partial = run_dir / "model.partial"
        self.model.config.use_cache = True
        weights = self.accelerator.get_state_dict(model) if self.copies_weights else None

        def write() -> None:
            shutil.rmtree(partial, ignore_errors=True)
            self.write(partial, weights)
            mark_untied(partial)
            check_saved(partial, self.model, self._start)
            publish(partial, run_dir / "model")

        on_first_rank(write)


def on_first_rank(act: Callable[[], None]) -> None:
    """Call ``act`` on the first rank while the others wait; if it fails, it fails on all ranks.

    Raises:
        Exception: on the first rank, the exception of ``act``.
        StageError: on the others, with its message.
    """
    several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    first = not several or torch.distributed.get_rank() == 0
    failure: Exception | None = None
    if first:
        try:
            act()
        except Exception as error:  # raised below: any error must reach the others first
            failure = error
    message = [None if failure is None else str(failure) or type(failure).__name__]
    if several:
        torch.distributed.broadcast_object_list(message, src=0)
    if failure is not None:
        raise failure
    if message[0] is not None:
        raise StageError(message[0])


def check_saved(folder: Path, model: torch.nn.Module, start: AdapterStart | None = None) -> None:
    """Reopen a saved model or adapter and compare it with the one in memory.

    Each weight in memory, except `computed_weights`, must be stored exactly once, under one of its names, with its
    shape and the bitwise same value. Values are not compared under ZeRO-3, where this process holds only a part. All
    weights must be finite. lm_head must differ from the embedding unless they are one weight in memory, and config.json
    must agree. config.json must describe a model with the same shapes. An adapter must have changed.

    Args:
        folder: with safetensors, and config.json unless it is an adapter.
        model: in memory, a `PeftModel` for an adapter.
        start: of an adapter that took weights of its base.

    Raises:
        StageError: one of these does not hold.
    """
    expected = weights_to_save(model, start)
    names = check_names(folder, expected)
    moved = None
    for name, tensor in saved_tensors(folder):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise StageError(f"a trained weight is not a number (got {name}); lower learning_rate")
        began = starting_value(name)
        if began is not None:
            distance = (tensor - began).abs().max() if start is None else start.distance(tensor)
            moved = max(moved or 0.0, float(distance))
            untrained = f"{began:g} in {name}" if start is None else f"its first values in {name}"
        _check_value(name, tensor, expected[name])
    if moved == 0.0:
        raise StageError(f"the adapter did not change in training (got {untrained}); raise learning_rate or max_steps")
    if not isinstance(model, PeftModel):
        assert isinstance(model, PreTrainedModel)
        check_config(folder, model)
        _check_head(folder, names)


def weights_to_save(model: torch.nn.Module, start: AdapterStart | None = None) -> dict[str, torch.Tensor]:
    """Return the weights to store, under each of the names that they have in the files.

    These are not always those in memory: transformers loads ``embed_out`` of a GPT-NeoX as ``lm_head``.

    Args:
        model: in memory, a `PeftModel` for an adapter.
        start: of an adapter that took weights of its base.
    """
    state: Mapping[str, torch.Tensor] = model.state_dict(keep_vars=True)
    if isinstance(model, PeftModel):
        adapter = dict(get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False))
        return adapter if start is None else start.stored(adapter)
    computed = computed_weights(model)
    assert isinstance(model, PreTrainedModel)
    stored = revert_weight_conversion(model, {name: each for name, each in state.items() if name not in computed})
    return dict(stored)


def freeze_computed(model: torch.nn.Module) -> None:
    """Exclude `computed_weights` from training: a reader computes them, so what training changes would be lost."""
    for name in computed_weights(model):
        model.get_parameter(name).requires_grad_(False)


def computed_weights(model: torch.nn.Module) -> set[str]:
    """Return the names of weights that are computed and never stored, such as Marian's sinusoidal positions."""
    unstored = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    return unstored & {name for name, _ in model.named_parameters()}


def saved_tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and value of each tensor in the safetensors of a folder, one at a time."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, an open safetensors file is not a mapping
                yield name, tensors.get_tensor(name)


def check_names(folder: Path, expected: Mapping[str, torch.Tensor]) -> set[str]:
    """Check that each weight is stored once, and return the stored names.

    Args:
        folder: with safetensors.
        expected: the weights in memory, under each of their names.

    Raises:
        StageError: a weight is not stored, or is stored more than once, or a stored tensor is not a weight.
    """
    names: list[str] = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            names += tensors.keys()
    if not names:
        raise StageError(
            f"no weights were saved (got {folder.name} without safetensors); see the log of the train stage"
        )
    foreign = sorted(set(names) - expected.keys())
    if foreign:
        raise StageError(f"a saved tensor does not belong to the model (got {foreign[0]}); please report this")
    stored = Counter(id(expected[name]) for name in names)
    for name in (*names, *expected):
        if (times := stored[id(expected[name])]) != 1:
            raise StageError(f"a weight is stored {times} times instead of once (got {name})")
    return set(names)


def _check_value(name: str, stored: torch.Tensor, weight: torch.Tensor) -> None:
    shape = shape_of(weight)
    if tuple(stored.shape) != shape:
        raise StageError(f"a saved tensor has another shape than the model's (got {tuple(stored.shape)} for {name})")
    whole = not hasattr(weight, "ds_shape")  # under ZeRO-3 this process holds a part
    if whole and not torch.equal(stored, weight.detach().to("cpu", stored.dtype)):
        raise StageError(f"a saved tensor differs from the trained one (got {name}); check the disk")


def shape_of(weight: torch.Tensor) -> tuple[int, ...]:
    """Return the full shape of a weight, even if this process only holds a part of it (ZeRO-3)."""
    return tuple(getattr(weight, "ds_shape", weight.shape))


def check_config(folder: Path, model: PreTrainedModel) -> None:
    """Check that config.json describes the model whose weights are stored.

    Args:
        folder: with config.json.
        model: in memory, not an adapter.

    Raises:
        StageError: it is wrong about lm_head, or describes a model with other weights.
    """
    state = model.state_dict(keep_vars=True)
    own_head = "lm_head.weight" in state and not _is_embedding(state["lm_head.weight"], model)
    written = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings", True)
    if "lm_head.weight" in state and written is own_head:
        raise StageError(
            f"config.json would make readers take the wrong lm_head (got tie_word_embeddings: {json.dumps(written)}, "
            f"lm_head {'' if own_head else 'not '}stored)"
        )
    config = type(model.config).from_pretrained(folder)
    with torch.device("meta"):
        described = {name: tuple(tensor.shape) for name, tensor in type(model)(config).state_dict().items()}
    in_memory = {name: shape_of(weight) for name, weight in state.items()}
    for name in sorted(in_memory.keys() | described.keys()):
        if described.get(name) != in_memory.get(name):
            raise StageError(
                f"config.json describes another model than the trained one (got {name} {in_memory.get(name)}, by the "
                f"config {described.get(name)})"
            )


def _is_embedding(weight: torch.Tensor, model: PreTrainedModel) -> bool:
    return weight is model.get_input_embeddings().weight


def _check_head(folder: Path, names: set[str]) -> None:
    if "lm_head.weight" in names:
        tensors = {
            name: tensor for name, tensor in saved_tensors(folder) if name in ("lm_head.weight", "shared.weight")
        }
        if len(tensors) == 2 and torch.equal(*tensors.values()):
            raise StageError(
                "lm_head equals the embedding (got two equal matrices), but they are separate in the trained model; "
                "please report this"
            )
