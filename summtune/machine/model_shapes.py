"""Counts the weights of an encoder-decoder model from its config, without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.errors import ModelError
from summtune.base.files import CONFIG_BYTES, check_regular, read_bounded


@dataclass(frozen=True)
class T5Shape:
    """The sizes of a T5 1.1 (FLAN-T5) model, by the names of its config.json.

    Args:
        vocab_size: rows of the embedding and of lm_head.
        d_model: width of the residual stream.
        d_kv: width of one attention head.
        d_ff: width of the gated feed-forward layer.
        num_layers: encoder layers.
        num_decoder_layers: decoder layers.
        num_heads: attention heads.
        buckets: relative position buckets.
        tied: whether lm_head is the embedding (it is not in FLAN-T5).
        gated: whether the feed-forward layer is gated (T5 1.1) or plain (T5 1.0).
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    buckets: int = 32
    tied: bool = False
    gated: bool = True

    @property
    def parameters(self) -> int:
        """All weights: embeddings, attention, feed-forward, norms and position biases."""
        inner = self.num_heads * self.d_kv
        attention = 4 * self.d_model * inner
        feed_forward = (3 if self.gated else 2) * self.d_model * self.d_ff
        norm = self.d_model
        encoder = self.num_layers * (attention + feed_forward + 2 * norm) + norm
        decoder = self.num_decoder_layers * (2 * attention + feed_forward + 3 * norm) + norm
        positions = 2 * self.buckets * self.num_heads
        embeddings = (1 if self.tied else 2) * self.vocab_size * self.d_model
        return encoder + decoder + positions + embeddings

    @property
    def largest_layer(self) -> int:
        """Weights of the largest layer: the embedding, and lm_head like it."""
        return max(self.vocab_size, self.d_ff) * self.d_model

    @property
    def layer_sizes(self) -> dict[str, tuple[int, int, int]]:
        """Count, inputs and outputs of the linear layers, by the end of their name."""
        inner = self.num_heads * self.d_kv
        attentions = self.num_layers + 2 * self.num_decoder_layers
        layers = self.num_layers + self.num_decoder_layers
        return {
            **dict.fromkeys(("q", "k", "v"), (attentions, self.d_model, inner)),
            "o": (attentions, inner, self.d_model),
            **(dict.fromkeys(("wi_0", "wi_1"), (layers, self.d_model, self.d_ff)) if self.gated else {}),
            **({} if self.gated else {"wi": (layers, self.d_model, self.d_ff)}),
            "wo": (layers, self.d_ff, self.d_model),
            "lm_head": (1, self.d_model, self.vocab_size),
        }

    def lora_parameters(self, rank: int, targets: list[str], dora: bool = False) -> int | None:
        """Weights of a LoRA adapter of ``rank`` on ``targets``: rank × (inputs + outputs) per layer (Hu et al., 2021).

        DoRA adds one magnitude per output (Liu et al., 2024). None if a target is not a known layer of T5.
        """
        sizes = self.layer_sizes
        if not set(targets) <= set(sizes):
            return None
        counts = [sizes[target] for target in targets]
        return sum(count * (rank * (inputs + outputs) + (outputs if dora else 0)) for count, inputs, outputs in counts)


_LARGEST = 2**31
"""Far above any size in a config.json; the sizes of weights are products of a few of these."""
_HEADER_BYTES = 100_000_000
"""The largest header that the safetensors library reads."""

# The config.json of google/flan-t5-*, so that sizes are known before the model is downloaded.
KNOWN_MODELS = {
    "google/flan-t5-small": T5Shape(32128, 512, 64, 1024, 8, 8, 6),
    "google/flan-t5-base": T5Shape(32128, 768, 64, 2048, 12, 12, 12),
    "google/flan-t5-large": T5Shape(32128, 1024, 64, 2816, 24, 24, 16),
    "google/flan-t5-xl": T5Shape(32128, 2048, 64, 5120, 24, 24, 32),
    "google/flan-t5-xxl": T5Shape(32128, 4096, 64, 10240, 24, 24, 64),
}


def shape_of(base_model: str, folder: Path | None) -> T5Shape | None:
    """Return the shape of a local T5 model or of a known one; None if it cannot be determined.

    Args:
        base_model: the model's name in the recipe.
        folder: of its files; None if it is not downloaded yet.

    Raises:
        ModelError: a file that ends in .safetensors is not one, or a size in config.json is not a valid number.
    """
    if folder is None:
        return KNOWN_MODELS.get(base_model)
    try:
        config: Any = json.loads(read_bounded(folder / "config.json", CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or config.get("model_type") not in ("t5", "mt5"):
        return None
    if not {"num_layers", "vocab_size", "d_model", "d_kv", "d_ff", "num_heads"} <= set(config):
        return None

    def size(key: str, default: int | None = None) -> int:
        value = default if config.get(key) is None else config[key]
        if type(value) is not int or not 0 < value < _LARGEST:
            raise ModelError(
                f"{key} of a T5 model is a whole number from 1 to {_LARGEST - 1:,} (got {value!r:.60} in "
                f"{folder / 'config.json'}); copy the model again"
            )
        return value

    layers = size("num_layers")
    return T5Shape(
        vocab_size=size("vocab_size"),
        d_model=size("d_model"),
        d_kv=size("d_kv"),
        d_ff=size("d_ff"),
        num_layers=layers,
        num_decoder_layers=size("num_decoder_layers", layers),
        num_heads=size("num_heads"),
        buckets=size("relative_attention_num_buckets", 32),
        tied="lm_head.weight" not in stored_tensors(folder),
        gated=str(config.get("feed_forward_proj", "relu")).startswith("gated"),
    )


def stored_tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in the folder's safetensors files, read from their headers.

    Raises:
        InputError: one of them is not a regular file.
        ModelError: one of them is not a safetensors file (such as a Git LFS pointer), or is truncated.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        check_regular(path)
        with path.open("rb") as file:
            # In any other file this length would be absurd, and reading that much would exhaust the memory.
            content = file.read(min(int.from_bytes(file.read(8), "little"), _HEADER_BYTES))
        try:
            header: dict[str, Any] = json.loads(content)
            shapes |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            raise ModelError(
                f"not a safetensors file (got {path}); if it is a Git LFS pointer, run `git lfs pull`, otherwise copy "
                "the model again"
            ) from None
    return shapes
