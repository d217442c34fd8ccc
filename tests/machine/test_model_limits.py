"""The limits in a model's JSON files bound what a recipe may ask of it."""

import json

import pytest
from made_up_recipes import prompt_recipe, train_recipe

from summtune.base.errors import RecipeError
from summtune.machine.model_limits import facts_of, lengths_within, misfits, wrong_family
from summtune.plan.checking import check

BART = {"model_type": "bart", "vocab_size": 50, "max_position_embeddings": 128, "decoder_start_token_id": 2}
PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": {"content": "</s>"}}


def write(folder, config, tokenizer=None, settings=None, **files):
    folder.mkdir(parents=True, exist_ok=True)
    named = {"config": config, "tokenizer": tokenizer, "tokenizer_config": settings, **files}
    for name, content in named.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def found(folder, recipe=train_recipe, **keys):
    return [message for _, message in misfits(facts_of(folder), recipe(**keys))]


def test_lengths_beyond_the_positions_are_refused_with_file_and_value(tmp_path):
    folder = write(tmp_path / "bart", BART)
    keys = {"sequence_len": 129, "target_len": 200, "generation": {"max_new_tokens": 129}}
    where = f"max_position_embeddings is 128 in {folder / 'config.json'}"
    assert found(folder, **keys) == [
        f"{key} exceeds the model's positions (got {value}; {where}); set {key} to at most 128"
        for key, value in (("sequence_len", 129), ("generation.max_new_tokens", 129), ("target_len", 200))
    ]
    assert found(folder, sequence_len=128, target_len=128, generation={"max_new_tokens": 128}) == []
    assert found(folder, prompt_recipe, sequence_len=128, generation={"max_new_tokens": 1}) == []


def test_virtual_tokens_take_positions_of_the_prompt(tmp_path):
    keys = {"adapter": "prompt_tuning", "num_virtual_tokens": 20, "generation": {"max_new_tokens": 8}, "target_len": 8}
    bart, llama = write(tmp_path / "bart", BART), write(tmp_path / "llama", LLAMA)
    (message,) = found(bart, sequence_len=109, **keys)
    assert "got 109 and 20 virtual tokens" in message
    assert message.endswith("set sequence_len to at most 108")
    assert found(bart, sequence_len=108, **keys) == []
    (message,) = found(llama, sequence_len=101, **keys)
    assert message.endswith("set sequence_len to at most 100")
    assert found(llama, sequence_len=100, **keys) == []


def test_a_recipe_is_refused_at_the_line_that_asks_too_much(project):
    write(project / "bart", BART | {"is_encoder_decoder": True})
    (project / "bart" / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")  # without a tensor
    recipe = project / "long.yaml"
    recipe.write_text("kind: prompt\nbase_model: ./bart\nsequence_len: 1024\ntest_datasets: [{path: test.jsonl}]\n")
    with pytest.raises(RecipeError, match=r"sequence_len exceeds .* \(got 1,024") as caught:
        check(recipe)
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(3, 1)]
    with pytest.raises(RecipeError, match=r"set generation\.max_new_tokens to at most 128"):
        check(recipe, ["sequence_len=64", "generation.max_new_tokens=500"])
    check(recipe, ["sequence_len=64"])


@pytest.mark.parametrize("vocabulary", [{f"t{i}": i for i in range(50)}, [[f"t{i}", -1.0] for i in range(50)]])
def test_tokens_beyond_the_embedding_are_refused(tmp_path, vocabulary):
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": [{"id": 3, "content": "<s>"}]}
    folder = write(tmp_path / "model", BART, tokenizer)
    keys = {"sequence_len": 64, "target_len": 64, "generation": {"max_new_tokens": 64}}
    assert found(folder, **keys) == []
    tokenizer["added_tokens"].append({"id": 50, "content": "#Person1#"})
    (message,) = found(write(folder, BART, tokenizer), **keys)
    assert "without an embedding in the model (got '#Person1#' with id 50 " in message
    assert f"vocab_size is 50 in {folder / 'config.json'}" in message
    # No summary contains the mask, and several published tokenizers give it an id beyond the embedding.
    assert found(write(folder, BART, tokenizer, {"mask_token": "#Person1#"}), **keys) == []


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path):
    folder = write(tmp_path / "model", {"model_type": "mt5", "vocab_size": 10}, {"model": {"vocab": {"far": 10}}})
    (message,) = found(folder)
    assert "got 'far' with id 10" in message


def test_ngrams_of_the_prompt_are_not_forbidden(tmp_path):
    keys = {"sequence_len": 16, "target_len": 16, "generation": {"no_repeat_ngram_size": 3, "max_new_tokens": 16}}
    (message,) = found(write(tmp_path / "llama", LLAMA), **keys)
    assert "(got 3); remove it" in message
    assert found(write(tmp_path / "bart", BART), **keys) == []


@pytest.mark.parametrize("key", ["decoder_start_token_id", "eos_token_id"])
def test_special_ids_beyond_the_embedding_are_refused(tmp_path, key):
    folder = write(tmp_path / "model", {"model_type": "mt5", "vocab_size": 10, key: 10})
    (message,) = found(folder)
    assert message.startswith(f"{key} is not a token of the model (got 10; vocab_size is 10 in ")


@pytest.mark.parametrize("name", ["pad_token", "eos_token"])
def test_a_special_token_missing_from_a_plain_tokenizer_is_refused(tmp_path, name):
    config = {"model_type": "mt5", f"{name}_id": 1}
    folder = write(tmp_path / "model", config, settings=PLAIN | {name: None})
    (message,) = found(folder)
    assert message.startswith(f"the tokenizer has no {name}, which ")
    assert f"(got none in {folder / 'tokenizer_config.json'}; {folder / 'config.json'} has {name}_id: 1)" in message
    # Other classes have default tokens, and older folders name them in special_tokens_map.json.
    assert found(write(folder, config, settings=PLAIN | {"tokenizer_class": "T5TokenizerFast", name: None})) == []
    settings = {key: value for key, value in PLAIN.items() if key != name}
    assert found(write(folder, config, settings=settings, special_tokens_map={name: "<x>"})) == []


def test_a_prompted_models_tokenizer_needs_no_end_token(tmp_path):
    folder = write(tmp_path / "model", {"model_type": "mt5"}, settings=PLAIN | {"eos_token": None})
    assert found(folder, prompt_recipe) == []


@pytest.mark.parametrize("kind", ["t5", "mbart", "encoder-decoder", "plbart"])
def test_a_model_without_a_start_token_is_refused_before_anything_starts(tmp_path, kind):
    folder = write(tmp_path / "model", {"model_type": kind})
    (message,) = found(folder)
    assert "(got no decoder_start_token_id in " in message
    assert found(write(folder, {"model_type": kind}, generation_config={"decoder_start_token_id": 4})) == []


def test_files_that_are_not_json_objects_are_ignored(tmp_path):
    folder = write(tmp_path / "model", {"model_type": "mt5"})
    for content in (b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"model": 3, "added_tokens": {"a": 1}}'):
        (folder / "tokenizer.json").write_bytes(content)
        assert found(folder) == []
    (folder / "config.json").write_bytes(b'{"vocab_size": -3, "model_type": "mt5", "encoder": 4, "eos_token_id": "x"}')
    assert found(folder) == []
    (folder / "config.json").write_bytes(b'{"model_type": ["t5"]}')
    assert [message.split(";")[0] for message in found(folder)] == [
        f"neither an encoder-decoder nor a decoder-only language model (got no model_type in {folder / 'config.json'})"
    ]


def test_default_lengths_are_lowered_to_the_models_positions(tmp_path):
    assert lengths_within(facts_of(write(tmp_path / "small", BART)), 512, 64) == (128, 64)
    assert lengths_within(facts_of(write(tmp_path / "any", {"model_type": "t5"})), 512, 64) == (512, 64)


@pytest.mark.parametrize("content", ["{", "[]", "", "{}"])
def test_a_config_that_is_not_an_object_is_reported_as_such(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert wrong_family(tmp_path).startswith(f"config.json is not a JSON object with keys (got {tmp_path}")


LLAMA = {"model_type": "llama", "vocab_size": 50, "max_position_embeddings": 128, "eos_token_id": 2}


def test_prompt_and_summary_of_a_decoder_only_model_share_its_positions(tmp_path):
    folder = write(tmp_path / "llama", LLAMA)
    keys = {"sequence_len": 100, "target_len": 29, "generation": {"max_new_tokens": 20}}
    where = f"max_position_embeddings is 128 in {folder / 'config.json'}"
    assert misfits(facts_of(folder), train_recipe(**keys)) == [
        (
            "sequence_len",
            "sequence_len and target_len exceed the model's positions, which prompt and summary share "
            f"(got 100 + 29 = 129; {where}); set sequence_len to at most 99",
        )
    ]
    assert found(folder, **(keys | {"target_len": 28})) == []
    (message,) = found(folder, prompt_recipe, sequence_len=100, generation={"max_new_tokens": 30})
    assert "sequence_len and generation.max_new_tokens exceed" in message
    (message,) = found(folder, prompt_recipe, sequence_len=100, generation={"max_new_tokens": 200})
    assert message.endswith("set generation.max_new_tokens to less than 128")


def test_scaled_positions_are_told_with_what_the_config_names(tmp_path):
    scaling = {"factor": 2.0, "original_max_position_embeddings": 128, "rope_type": "yarn"}
    folder = write(tmp_path / "llama", LLAMA | {"rope_scaling": scaling})
    assert found(folder, prompt_recipe, sequence_len=200, generation={"max_new_tokens": 56}) == []
    (message,) = found(folder, prompt_recipe, sequence_len=200, generation={"max_new_tokens": 57})
    assert f"max_position_embeddings is 128 in {folder / 'config.json'}, scaled to 256)" in message


def test_lengths_of_a_decoder_only_model_are_lowered_together(tmp_path):
    facts = facts_of(write(tmp_path / "llama", LLAMA))
    assert lengths_within(facts, 1024, 32) == (96, 32)
    assert lengths_within(facts, 50, 32) == (50, 32)
    assert lengths_within(facts, 1024, 128) == (64, 64)


@pytest.mark.parametrize("place", ["file", "folder", "folder with config.json", "repository"])
def test_a_gguf_model_is_refused_with_the_way_to_convert_it(project, place):
    folder = project / "quantized"
    folder.mkdir()
    (folder / "llama.Q4.gguf").write_bytes(b"GGUF")
    if place == "folder with config.json":
        write(folder, LLAMA)
    model = {"file": "./quantized/llama.Q4.gguf", "repository": "someone/quantized-GGUF"}.get(place, "./quantized")
    recipe = project / "gguf.yaml"
    recipe.write_text(f"kind: prompt\nbase_model: {model}\nsequence_len: 64\ntest_datasets: [{{path: test.jsonl}}]\n")
    with pytest.raises(RecipeError, match=r"GGUF files hold rounded weights, .*quantized.*gguf_file=FILE"):
        check(recipe, ["generation.max_new_tokens=32"])
