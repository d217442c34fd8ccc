"""Virtual tokens in the embedding give what peft gives with them in front of a prompt."""

import peft
import pytest
import torch
from made_up_recipes import train_recipe
from other_models import write_model
from tiny_decoders import write_decoder
from tiny_inputs import write_bart
from transformers import GenerationConfig

from summtune.base.errors import ModelError
from summtune.recipe.adapters import adapter_of
from summtune.work.models import decoder_only
from summtune.work.models.adapters import add_adapter, load_adapter, with_trained
from summtune.work.models.families import family_of_model
from summtune.work.models.loading import count_parameters, load_model
from summtune.work.models.virtual_tokens import virtual_ids

# peft uses a deprecated name of transformers 5
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def prompt_tuning(**keys):
    return adapter_of(train_recipe(adapter="prompt_tuning", **keys), None)


def adapted(folder, adapter):
    torch.manual_seed(0)
    return add_adapter(load_model(folder, torch.float32), adapter, str(folder), tokenizer=folder)


@pytest.mark.parametrize("base", ["t5", "bart"])
def test_a_model_with_virtual_tokens_reads_a_prompt_as_peft_does(base, checkpoint, tmp_path):
    folder = checkpoint if base == "t5" else write_bart(tmp_path / "bart")
    planned = prompt_tuning(num_virtual_tokens=5)
    adapted(folder, planned).save_pretrained(tmp_path / "adapter")
    plain = load_model(folder, torch.float32).eval()
    batch = {"input_ids": torch.tensor([[5, 6, 1]]), "decoder_input_ids": torch.tensor([[0, 7]])}
    with torch.no_grad():
        without = plain(**batch).logits
        expected = load_adapter(load_model(folder, torch.float32), tmp_path / "adapter").eval()(**batch).logits
        model = with_trained(plain, planned, tmp_path / "adapter", quantized=False, dtype=torch.float32)
        ids = virtual_ids(family_of_model(model).reader(model))
        assert ids == [256, 257, 258, 259, 260]
        assert torch.equal(model(**batch).logits, without)
        batch["input_ids"] = torch.tensor([[*ids, 5, 6, 1]])
        assert torch.allclose(model(**batch).logits, expected, atol=1e-5)
        assert not torch.allclose(expected, without, atol=1e-2)


def test_a_model_without_an_adapter_has_no_virtual_tokens(checkpoint):
    model = load_model(checkpoint, torch.float32)
    assert virtual_ids(family_of_model(model).reader(model)) == []


def test_the_embeddings_of_the_virtual_tokens_are_all_that_is_trained(checkpoint):
    model = adapted(checkpoint, prompt_tuning(num_virtual_tokens=7))
    assert count_parameters(model)[0] == 7 * 32
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == [
        "prompt_encoder.default.embedding.weight"
    ]


def test_virtual_tokens_begin_as_those_of_a_text_repeated(checkpoint, tokenizer):
    model = adapted(checkpoint, prompt_tuning(num_virtual_tokens=40, prompt_tuning_init_text="the train"))
    ids = (tokenizer("the train")["input_ids"] * 40)[:40]
    first = model.prompt_encoder["default"].embedding.weight
    assert torch.equal(first, model.word_embeddings(torch.tensor(ids)))
    assert model.peft_config["default"].tokenizer_name_or_path == str(checkpoint)


def test_a_model_whose_attention_peft_would_not_extend_is_refused(tmp_path):
    folder = write_model(tmp_path / "led", "led")
    with pytest.raises(ModelError, match=r"prompt_tuning does not suit this model.*\(got model_type 'led'\)"):
        adapted(folder, prompt_tuning())


def test_a_model_that_peft_would_embed_in_another_way_is_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(peft.PeftModel, "word_embeddings", torch.nn.Embedding(256, 32), raising=False)
    monkeypatch.setattr(peft.PeftModel, "__setattr__", kept("word_embeddings"))
    with pytest.raises(ModelError, match=r"prompt_tuning does not suit this model.*\(got model_type 't5'\)"):
        adapted(checkpoint, prompt_tuning())


def kept(name):
    """Return a ``__setattr__`` that does not set one name."""

    def set_other(self, key, value):
        if key != name:
            torch.nn.Module.__setattr__(self, key, value)

    return set_other


class Tokenizer:
    pad_token_id = eos_token_id = 2


@pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient:UserWarning")  # of peft
@pytest.mark.parametrize("architecture", ["llama", "gemma", "gpt2"])
def test_what_a_decoder_only_model_writes_is_what_peft_writes_whatever_its_batch(tmp_path, architecture):
    folder = write_decoder(tmp_path / "base", architecture)
    planned = prompt_tuning(num_virtual_tokens=3)
    adapted(folder, planned).save_pretrained(tmp_path / "adapter")
    config = GenerationConfig(max_new_tokens=5, pad_token_id=2, eos_token_id=2)
    prompts = [[5, 6, 7], [5, 9, 9, 3, 8, 7, 11]]
    by_peft = load_adapter(load_model(folder, torch.float32), tmp_path / "adapter").eval()
    model = with_trained(load_model(folder, torch.float32), planned, tmp_path / "adapter", False, torch.float32).eval()
    virtual = virtual_ids(model)
    batch = decoder_only.prompts(model, Tokenizer, [[*virtual, *ids] for ids in prompts])
    together = decoder_only.generate(model, batch, config).tolist()
    for ids, written in zip(prompts, together, strict=True):
        alone = torch.tensor([ids])
        expected = by_peft.generate(input_ids=alone, attention_mask=torch.ones_like(alone), generation_config=config)
        assert [*ids, *written] == expected[0].tolist()
