"""The text part of a model that also reads images is used as the language model that it is."""

import pytest
import torch
import transformers
from made_up_recipes import prompt_recipe, train_recipe
from safetensors.torch import load_file, save_file

from summtune.base.errors import ModelError
from summtune.machine.model_shapes import shape_of
from summtune.machine.stored_tensors import stored_tensors
from summtune.plan.models import problems_of_model
from summtune.work.models.loading import load_model

TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
SIGHT = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def gemma3():
    config = transformers.Gemma3Config(
        text_config=TEXT, vision_config=SIGHT, mm_tokens_per_image=1, image_token_index=60, eos_token_id=2
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def llava():
    config = transformers.LlavaConfig(
        text_config=TEXT | {"model_type": "llama"},
        vision_config=SIGHT | {"model_type": "clip_vision_model", "projection_dim": 8},
        image_token_index=60,
        eos_token_id=2,
    )
    return transformers.LlavaForConditionalGeneration(config)


@pytest.fixture(params=[gemma3, llava], ids=["tied", "own head"])
def whole(request, tmp_path):
    """Return a model for text and images, and its folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = request.param().eval()
    model.save_pretrained(tmp_path / "whole")
    return model, tmp_path / "whole"


def logits(model):
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_the_text_part_writes_what_the_whole_model_writes(whole):
    model, folder = whole
    part = load_model(folder, torch.float32).eval()
    assert type(part).__name__ in ("Gemma3ForCausalLM", "LlamaForCausalLM")
    torch.testing.assert_close(logits(part), logits(model))
    assert shape_of("./model", folder).parameters == sum(weight.numel() for weight in part.parameters())


def test_the_text_part_is_saved_as_a_model_by_itself(whole, tmp_path):
    model, folder = whole
    load_model(folder, torch.float32).save_pretrained(tmp_path / "part")
    names = stored_tensors(tmp_path / "part")
    assert all(name.startswith(("model.layers.", "model.embed", "model.norm", "lm_head")) for name in names)
    again = load_model(tmp_path / "part", torch.float32).eval()
    torch.testing.assert_close(logits(again), logits(model))


def test_a_text_part_without_some_of_its_weights_is_refused(whole):
    _, folder = whole
    weights = load_file(folder / "model.safetensors")
    del weights["language_model.model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"cannot be loaded \(got .*whole: the text part has no model\.norm\.weight\)"):
        load_model(folder, torch.float32)


def test_an_adapter_of_a_text_part_is_refused_because_others_load_the_whole_model(whole):
    _, folder = whole
    keys = {"base_model": str(folder), "sequence_len": 64}
    assert problems_of_model(prompt_recipe(**keys), folder) == []
    assert problems_of_model(train_recipe(**keys), folder) == []
    ((key, message),) = problems_of_model(train_recipe(**keys, adapter="lora"), folder)
    assert key == "adapter"
    assert "which other programs load (got model_type '" in message
