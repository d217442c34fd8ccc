"""LED and similar models see beyond their window through the first token, in training and in generation."""

import pytest
import torch
from other_models import write_model
from prepared_runs import prepared_run
from transformers import GenerationConfig

from summtune.base.files import read_json
from summtune.work.generation.decoding import generate
from summtune.work.generation.prediction import predict
from summtune.work.models.global_attention import GLOBAL_ATTENTION, first_token_sees_all, takes_global_attention
from summtune.work.models.loading import load_model, load_tokenizer
from summtune.work.process.stopping import StopRequest
from summtune.work.training.loop import train

LENGTHS = {"sequence_len": 64, "target_len": 64}


@pytest.fixture(scope="module")
def led(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "led", "led")


def test_only_models_with_an_attention_window_use_global_attention(led, checkpoint, tmp_path):
    assert takes_global_attention(load_model(led, torch.float32))
    for folder in (checkpoint, write_model(tmp_path / "bart", "bart")):
        assert not takes_global_attention(load_model(folder, torch.float32))


def test_the_mask_marks_the_first_token_of_each_prompt():
    assert first_token_sees_all(torch.tensor([[5, 6], [7, 1]])).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("beams", [1, 2])
def test_the_generated_text_is_that_of_transformers_with_global_attention(led, beams):
    model, tokenizer = load_model(led, torch.float32).eval(), load_tokenizer(led)
    prompts = [[0, *range(20 + row, 60 + row), 2] for row in range(3)]
    config = GenerationConfig(
        max_new_tokens=8, num_beams=beams, eos_token_id=2, pad_token_id=1, decoder_start_token_id=2
    )
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        with_it, without = (
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, **given)
            for given in ({"global_attention_mask": first_token_sees_all(ids)}, {})
        )
    texts = [text.strip() for text in tokenizer.batch_decode(with_it, skip_special_tokens=True)]
    assert [one.text for one in generate(model, tokenizer, prompts, config)] == texts
    assert with_it.tolist() != without.tolist()


def test_training_moves_the_weights_of_global_attention_and_the_run_reports_it(led, tmp_path):
    run = prepared_run(tmp_path, led, train=4, num_epochs=1, generation={"max_new_tokens": 4}, **LENGTHS)
    train(run.plan, run.folder, run.events(), StopRequest())
    predict(run.plan, run.folder, run.events("predict"))
    before, after = (load_model(folder, torch.float32).state_dict() for folder in (led, run.folder / "model"))
    name = "led.encoder.layers.0.self_attn.longformer_self_attn.value_global.weight"
    assert not torch.equal(before[name], after[name])
    assert run.texts("message").count(GLOBAL_ATTENTION) == 2
    assert read_json(run.folder / "prediction_stats.json")["global_attention"] == GLOBAL_ATTENTION
