"""A model that cannot be saved is refused before anything is trained, and one that can be trained is saved."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from forked_ranks import on_ranks
from safetensors.torch import load_file
from tiny_inputs import EOS, PAD, VOCABULARY, write_tokenizer
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from summtune.base.errors import StageError
from summtune.work.models.saved_model import ModelWriter, on_first_rank

# peft uses a deprecated name of transformers 5.20 and later
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")


def fails_before_the_first_step(trained, prepare, message, **keys):
    with pytest.raises(StageError, match=message):
        trained(max_steps=1, num_epochs=None, **keys)
    run = prepare(max_steps=1, num_epochs=None, **keys)
    assert not (run.folder / "train_log.jsonl").exists() or run.log == []
    assert not [path for path in run.folder.iterdir() if path.name.startswith("model")]


def test_a_tokenizer_that_cannot_be_saved_is_refused_before_training(trained, prepare, monkeypatch):
    def refuse(self, folder, **_):
        raise NotImplementedError("this tokenizer has no files")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", refuse)
    fails_before_the_first_step(
        trained, prepare, r"could not be saved \(got NotImplementedError: this tokenizer has no files\); nothing was"
    )


def test_a_tokenizer_that_changes_when_saved_is_refused_before_training(trained, prepare, monkeypatch):
    save = PreTrainedTokenizerFast.save_pretrained

    def forget(self, folder, **_):
        save(self, folder)
        written = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(written | {"post_processor": None}))

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", forget)
    fails_before_the_first_step(trained, prepare, r"gives other tokens once it is saved \(got \[")


@pytest.mark.parametrize("adapter", [None, "lora"])
def test_an_unknown_saved_tensor_is_refused_before_training(trained, prepare, monkeypatch, adapter):
    write = ModelWriter.write

    def add(self, folder, weights):
        write(self, folder, weights)
        stored = folder / ("adapter_model.safetensors" if adapter else "model.safetensors")
        from safetensors.torch import save_file

        save_file(load_file(stored) | {"more.weight": torch.zeros(1)}, stored)

    monkeypatch.setattr(ModelWriter, "write", add)
    message = r"could not be saved: a saved tensor does not belong to the model \(got more.weight\)"
    fails_before_the_first_step(trained, prepare, message, adapter=adapter)


def test_a_full_disk_is_reported_before_training(trained, prepare, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 4096, 4096))
    fails_before_the_first_step(
        trained, prepare, r"too little space \(got 4\.0 KiB free for .*; the model needs 2\d\d\.\d KiB"
    )


def test_settings_of_the_base_that_cannot_be_saved_do_not_matter(trained, checkpoint, tmp_path):
    """The run does not use them, and transformers refuses to write them."""
    base = shutil.copytree(checkpoint, tmp_path / "base")
    own = json.loads((base / "generation_config.json").read_text())
    own |= {"do_sample": False, "temperature": 0.3, "num_beams": 1, "early_stopping": True, "length_penalty": 2.0}
    (base / "generation_config.json").write_text(json.dumps(own))
    asked = {"max_new_tokens": 6, "num_beams": 2, "length_penalty": 0.5, "no_repeat_ngram_size": 3}
    run = trained(base_model=str(base), max_steps=1, num_epochs=None, generation=asked)
    saved = GenerationConfig.from_pretrained(run.folder / "model").to_diff_dict()
    saved.pop("transformers_version")
    tokens = {"decoder_start_token_id": PAD, "pad_token_id": PAD, "eos_token_id": EOS}
    assert saved == asked | tokens | {"do_sample": False}


def marian(folder):
    torch.manual_seed(0)
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    tokens = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD, "forced_eos_token_id": EOS}
    widths = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 512}
    MarianMTModel(MarianConfig(vocab_size=VOCABULARY, dropout=0.0, **(sizes | tokens | widths))).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def test_weights_that_are_computed_are_neither_trained_nor_stored(trained, tmp_path):
    base = marian(tmp_path / "marian")
    run = trained(base_model=str(base), max_steps=2, num_epochs=None)
    stored = load_file(run.folder / "model" / "model.safetensors")
    assert not any("embed_positions" in name for name in stored)
    assert not torch.equal(stored["model.shared.weight"], load_file(base / "model.safetensors")["model.shared.weight"])
    loaded, before = (AutoModelForSeq2SeqLM.from_pretrained(one) for one in (run.folder / "model", base))
    positions = loaded.model.encoder.embed_positions.weight
    assert torch.equal(positions, before.model.encoder.embed_positions.weight)
    assert run.training["total_parameters"] - run.training["trainable_parameters"] == 2 * positions.numel()


def fail_on_the_first(rank):
    def act():
        assert rank == 0
        raise OSError("no room (got 0)")

    try:
        on_first_rank(act)
    except (OSError, StageError) as error:
        return type(error).__name__, str(error)


def test_what_fails_on_the_first_rank_fails_on_all():
    assert on_ranks(2, fail_on_the_first) == [("OSError", "no room (got 0)"), ("StageError", "no room (got 0)")]
