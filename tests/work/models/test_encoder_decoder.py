"""Batches of an encoder-decoder, and the generated part of its output."""

import torch
from transformers import GenerationConfig

from summtune.work.models import encoder_decoder
from summtune.work.models.encoder_decoder import Collator
from summtune.work.models.families import family_named, family_of_model
from summtune.work.models.family import BatchNeeds
from summtune.work.models.loading import load_model
from summtune.work.tokens.pairs import IGNORED, Pair


def test_the_collator_pads_and_shifts_the_labels_right():
    batch = Collator(pad=0, start=9)(
        [Pair(input_ids=[5, 6, 1], labels=[7, 1]), Pair(input_ids=[5, 1], labels=[7, 8, 8, 1])]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 1], [5, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[7, 1, IGNORED, IGNORED], [7, 8, 8, 1]]
    assert batch["decoder_input_ids"].tolist() == [[9, 7, 1, 0], [9, 7, 8, 8]]


def test_the_collator_masks_by_length_and_not_by_the_padding_token():
    batch = Collator(pad=0, start=0)([Pair(input_ids=[0, 5, 1], labels=[1]), Pair(input_ids=[1], labels=[IGNORED])])
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["decoder_input_ids"].tolist() == [[0], [0]]


def test_the_first_token_has_global_attention_if_the_model_supports_it():
    pairs = [Pair(input_ids=[5, 6, 1], labels=[7, 1]), Pair(input_ids=[5, 1], labels=[7, 1])]
    assert "global_attention_mask" not in Collator(pad=0, start=9)(pairs)
    assert Collator(pad=0, start=9, global_attention=True)(pairs)["global_attention_mask"].tolist() == [
        [1, 0, 0],
        [1, 0, 0],
    ]


def test_lengths_are_padded_to_a_multiple():
    batch = Collator(pad=0, start=0, multiple=8)([Pair(input_ids=[5] * 9, labels=[7] * 3)])
    assert batch["input_ids"].shape == (1, 16)
    assert batch["labels"].shape == batch["decoder_input_ids"].shape == (1, 8)
    assert int(batch["attention_mask"].sum()) == 9


def test_padding_does_not_exceed_the_models_positions():
    pair = Pair(input_ids=[5] * 9, labels=[7] * 3)
    batch = Collator(pad=0, start=0, multiple=8, most_prompt_tokens=15, most_summary_tokens=8)([pair])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (1, 9)
    assert batch["labels"].shape == (1, 8)


def test_the_family_of_a_loaded_model_is_the_one_that_the_plan_names(checkpoint):
    assert family_of_model(load_model(checkpoint, torch.float32)) is family_named("encoder_decoder") is encoder_decoder


def test_the_collator_gets_what_batches_need(checkpoint):
    model = load_model(checkpoint, torch.float32)
    collate = encoder_decoder.collator(model, BatchNeeds(7, 9, (1,), 15, 8), 8)
    batch = collate([Pair(input_ids=[5] * 9, labels=[6] * 3), Pair(input_ids=[5], labels=[6])])
    assert batch["input_ids"].tolist() == [[5] * 9, [5] + [7] * 8]
    assert batch["decoder_input_ids"][0].tolist() == [9, 6, 6, 6, 7, 7, 7, 7]


def test_generated_tokens_contain_neither_prompt_nor_start_token(checkpoint, tokenizer):
    model = load_model(checkpoint, torch.float32).eval()
    batch = encoder_decoder.prompts(model, tokenizer, [[5, 6, 7, 1], [5, 1]])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    config = GenerationConfig(max_new_tokens=3, eos_token_id=None, pad_token_id=0, decoder_start_token_id=0)
    whole = model.generate(**batch, generation_config=config)
    assert encoder_decoder.generate(model, batch, config).tolist() == whole[:, 1:].tolist()
    assert whole.shape == (2, 4)


def test_the_start_token_comes_from_the_generation_config_or_else_the_model_config(checkpoint):
    model = load_model(checkpoint, torch.float32)
    assert encoder_decoder.special_tokens(model) == {"decoder_start_token_id": 0}
    model.generation_config.decoder_start_token_id = 5
    assert encoder_decoder.special_tokens(model) == {"decoder_start_token_id": 5}
    model.generation_config.decoder_start_token_id = None
    assert encoder_decoder.special_tokens(model) == {"decoder_start_token_id": 0}
