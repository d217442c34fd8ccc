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


def qwen3_5():
    sizes = dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2)
    sizes |= dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8)
    layers = {"layer_types": ["linear_attention", "full_attention"]}
    sight = {"hidden_size": 32, "depth": 1, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32}
    config = transformers.Qwen3_5Config(text_config=TEXT | sizes | layers, vision_config=sight, eos_token_id=2)
    return transformers.Qwen3_5ForConditionalGeneration(config)


def saved(model_of, folder):
    """Return a model for text and images, and the folder that it was saved to."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_of().eval()
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(params=[gemma3, llava, qwen3_5], ids=lambda made: made.__name__)
def whole(request, tmp_path):
    return saved(request.param, tmp_path / "whole")


def logits(model):
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_the_text_part_writes_what_the_whole_model_writes(whole):
    model, folder = whole
    part = load_model(folder, torch.float32).eval()
    assert type(part).__name__ in ("Gemma3ForCausalLM", "LlamaForCausalLM", "Qwen3_5ForCausalLM")
    torch.testing.assert_close(logits(part), logits(model))


def test_the_weights_of_the_text_part_are_counted(tmp_path):
    _, folder = saved(gemma3, tmp_path / "whole")
    part = load_model(folder, torch.float32)
    assert shape_of("./model", folder).parameters == sum(weight.numel() for weight in part.parameters())


def test_the_text_part_is_saved_as_a_model_by_itself(whole, tmp_path):
    model, folder = whole
    load_model(folder, torch.float32).save_pretrained(tmp_path / "part")
    names = stored_tensors(tmp_path / "part")
    assert all(name.startswith(("model.layers.", "model.embed", "model.norm", "lm_head")) for name in names)
    again = load_model(tmp_path / "part", torch.float32).eval()
    torch.testing.assert_close(logits(again), logits(model))


def test_a_text_part_without_some_of_its_weights_is_refused(tmp_path):
    _, folder = saved(llava, tmp_path / "whole")
    weights = load_file(folder / "model.safetensors")
    del weights["language_model.model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"cannot be loaded \(got .*whole: the text part has no model\.norm\.weight\)"):
        load_model(folder, torch.float32)


def test_an_adapter_of_a_text_part_is_refused_where_others_load_the_whole_model(tmp_path):
    keys = {"sequence_len": 64, "adapter": "lora"}
    _, folder = saved(llava, tmp_path / "llava")
    assert problems_of_model(prompt_recipe(sequence_len=64, base_model=str(folder)), folder) == []
    ((key, message),) = problems_of_model(train_recipe(**keys, base_model=str(folder)), folder)
    assert key == "adapter"
    assert "which other programs load (got model_type 'llava'); train all weights" in message
    _, folder = saved(qwen3_5, tmp_path / "qwen3.5")
    assert problems_of_model(train_recipe(**keys, base_model=str(folder)), folder) == []
