"""Checks before the first step that the trained model can be saved: writes and reopens everything but the weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from transformers import GenerationConfig

from summtune.base import numbers
from summtune.base.errors import StageError, SummtuneError
from summtune.work.models.loading import load_tokenizer, mark_untied
from summtune.work.models.saved_model import (
    ModelWriter,
    check_config,
    check_names,
    on_first_rank,
    shape_of,
)

_SAMPLE = "#Person1#: Shall we say 5 o'clock?\n#Person2#: Fine, <b>see you</b> then, François."


def try_saving(writer: ModelWriter, run_dir: Path) -> None:
    """Save the model with every name but one number per weight, reopen it, and delete it; every rank calls this.

    The numbers are what makes a save slow. What fails is the rest: names that libraries add or omit, weights that
    share memory, settings and tokenizers that cannot be written, a full disk.

    Args:
        writer: of the model, which accelerate has wrapped.
        run_dir: for ``model/`` after the training.

    Raises:
        StageError: a trained model could not be saved, with the reason; on every rank.
    """
    on_first_rank(lambda: _try(writer, run_dir))


def _try(writer: ModelWriter, run_dir: Path) -> None:
    folder = run_dir / "model.trial"
    try:
        _check_room(writer, run_dir)
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed trial
        writer.write(folder, _stubs(writer))
        mark_untied(folder)
        _check(folder, writer)
    except SummtuneError as error:
        raise StageError(f"a trained model could not be saved: {error}") from error
    except Exception as error:  # any error of a library here would also occur after the training
        first = (str(error).strip().splitlines() or [""])[0]
        raise StageError(
            f"a trained model could not be saved (got {type(error).__name__}: {first}); nothing was trained. Correct "
            "config.json or the tokenizer of base_model, or use another model"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(folder: Path, writer: ModelWriter) -> None:
    check_names(folder, writer.stored_weights())
    tokenizer = writer.tokenizer
    if isinstance(writer.model, PeftModel):
        PeftConfig.from_pretrained(str(folder))
    else:
        check_config(folder, writer.model)
    GenerationConfig.from_pretrained(folder, local_files_only=True)
    before, after = tokenizer(_SAMPLE)["input_ids"], load_tokenizer(folder)(_SAMPLE)["input_ids"]
    if before != after:
        raise StageError(
            f"the tokenizer gives other tokens once it is saved (got {after[:8]}… instead of {before[:8]}…); "
            "correct tokenizer.json and tokenizer_config.json of base_model"
        )


def _stubs(writer: ModelWriter) -> dict[str, torch.Tensor]:
    """Return the saved state with one number per weight; the names of one weight share it unless DeepSpeed copies."""
    made: dict[int, torch.Tensor] = {}
    state = {}
    for name, weight in writer.model.state_dict(keep_vars=True).items():
        stub = made.setdefault(id(weight), torch.zeros((1,) * len(shape_of(weight)), dtype=weight.dtype))
        state[name] = stub.clone() if writer.copies_weights else stub
    return state


def _check_room(writer: ModelWriter, run_dir: Path) -> None:
    """Check that the disk has room for the model itself; checkpoints need more."""
    weights = {id(weight): weight for weight in writer.stored_weights().values()}
    needed = sum(torch.Size(shape_of(weight)).numel() * weight.element_size() for weight in weights.values())
    free = shutil.disk_usage(run_dir).free
    if free < needed:
        raise StageError(
            f"the disk has too little space (got {numbers.size(free)} free for {run_dir}; the model needs "
            f"{numbers.size(needed)}, checkpoints more); free some space, or set output_dir to another disk"
        )
