"""A model's files, as transformers reads them, are checked against the recipe before any weight is loaded."""

import json

import pytest
from made_up_recipes import prompt_recipe, train_recipe
from other_models import END, byte_tokenizer, write_model
from tiny_inputs import EOS, PAD, write_checkpoint

from summtune.base.errors import ModelError
from summtune.work.models.loading import load_tokenizer
from summtune.work.models.model_check import check_model

SHORT = {"sequence_len": 64, "generation": {"max_new_tokens": 64}}


def checked(folder, kind="train", **keys):
    short = train_recipe(target_len=64, **SHORT | keys) if kind == "train" else prompt_recipe(**SHORT | keys)
    return check_model(folder, load_tokenizer(folder), short)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_suitable_model_returns_what_batches_need(checkpoint, tmp_path):
    assert checked(checkpoint) == (PAD, PAD, (EOS,), None, None)
    assert checked(write_model(tmp_path / "bart", "bart")) == (1, END, (END,), 64, 64)


def test_lengths_are_checked_against_the_defaults_of_the_models_class(tmp_path):
    folder = write_model(tmp_path / "bart", "bart")
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]  # the default of BART is 1,024
    (folder / "config.json").write_text(json.dumps(config))
    checked(folder, sequence_len=1024)
    with pytest.raises(ModelError, match=r"sequence_len exceeds .* \(got 1,025; "):
        checked(folder, sequence_len=1025)


def test_a_model_without_start_or_end_token_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "t5")
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", decoder_start_token_id=None, eos_token_id=None)
    with pytest.raises(ModelError) as caught:
        checked(folder, "prompt")
    first, second = str(caught.value).splitlines()
    assert "(got no decoder_start_token_id in " in first
    assert "(got no eos_token_id in " in second


@pytest.mark.parametrize(("name", "kinds"), [("pad_token", ("train", "prompt")), ("eos_token", ("train",))])
def test_a_tokenizer_without_a_required_token_is_refused(tmp_path, name, kinds):
    folder = write_checkpoint(tmp_path / "t5")
    edit(folder / "tokenizer_config.json", **{name: None})
    for kind in kinds:
        with pytest.raises(ModelError, match=f"the tokenizer has no {name}"):
            checked(folder, kind)
    if "prompt" not in kinds:
        checked(folder, "prompt")


def test_tokens_added_to_the_tokenizer_but_not_to_the_model_are_refused(tmp_path):
    tokenizer = byte_tokenizer()
    folder = write_model(tmp_path / "bart", "bart", tokenizer)
    tokenizer.add_tokens(["#Person1#"])
    tokenizer.save_pretrained(folder)
    for kind in ("train", "prompt"):
        with pytest.raises(ModelError, match=r"without an embedding .* \(got '#Person1#' with id"):
            checked(folder, kind)


def test_summaries_that_do_not_end_as_generation_does_are_refused(tmp_path):
    folder = write_model(tmp_path / "bart", "bart", byte_tokenizer(ends_with="<s>"))
    with pytest.raises(ModelError, match=r"never learn to end a summary \(got the tokens .*'<s>'\] for 'A.', but gen"):
        checked(folder)
    checked(folder, "prompt")
    other = write_model(tmp_path / "other", "bart", eos_token_id=4)
    with pytest.raises(ModelError, match=r"generation ends at \['<mask>'\]"):
        checked(other)
