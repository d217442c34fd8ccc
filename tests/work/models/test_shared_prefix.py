"""What a decoder-only model writes depends neither on a shared prefix nor on the rows that are dropped."""

import pytest
import torch
from tiny_decoders import ARCHITECTURES, made
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from summtune.work.models import decoder_only, shared_prefix
from summtune.work.models.shared_prefix import with_shared_prefix

WINDOWED = ("mistral", "gemma2", "gemma3_text", "phi3")
PREFIX = [3 + 7 * place % 250 for place in range(30)]
LENGTHS = (4, 11, 5, 7, 19, 9, 6)
PROMPTS = [[*PREFIX, *(5 + (11 * length + 3 * place) % 240 for place in range(length))] for length in LENGTHS]
END = 2


class Tokenizer:
    pad_token_id = eos_token_id = END


def config_of(**changes):
    return GenerationConfig(**{"max_new_tokens": 8, "pad_token_id": END, "eos_token_id": END} | changes)


def written(model, prompts, config, *stopping):
    with torch.inference_mode():
        batch = decoder_only.prompts(model, Tokenizer, prompts)
        return decoder_only.generate(model, batch, config, StoppingCriteriaList(stopping)).tolist()


def alone(model, prompt, config):
    """Return what transformers itself writes for one prompt, padded to the length of all."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        new = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    new = new[0, len(prompt) :].tolist()
    return new + [END] * (config.max_new_tokens - len(new))


def ending(model):
    """Let each row end when prompt and summary have a multiple of seven tokens, after another number for each."""

    def force(_, __, given, output):
        mask = given.get("attention_mask")  # transformers leaves it out where nothing is masked
        read = torch.tensor([output.past_key_values.get_seq_length()]) if mask is None else mask.sum(1)
        output.logits[:, -1, END] += 1e4 * (read % 7 == 0)

    model.register_forward_hook(force, with_kwargs=True)
    return model


def counted(model):
    """Return a list of the (rows, tokens) of each forward pass."""
    seen = []
    model.register_forward_pre_hook(lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_text_is_that_of_each_prompt_alone(architecture):
    model = ending(made(architecture))
    config = config_of()
    expected = [alone(model, prompt, config) for prompt in PROMPTS]
    seen = counted(model)
    got = written(model, PROMPTS, config)
    assert ((1, 30) in seen) is (architecture not in WINDOWED)
    assert min(rows for rows, tokens in seen if tokens == 1) < len(PROMPTS), "finished rows are dropped"
    assert [row + [END] * (8 - len(row)) for row in got] == expected


def test_samples_do_not_depend_on_whether_the_prefix_is_shared(monkeypatch):
    model, config = made("llama"), config_of(do_sample=True)
    torch.manual_seed(3)
    shared = written(model, PROMPTS, config)
    monkeypatch.setattr(shared_prefix, "_LEAST", 10_000)
    torch.manual_seed(3)
    assert written(model, PROMPTS, config) == shared


class Threes(StoppingCriteria):
    """Ends rows whose last token is a multiple of three."""

    def __call__(self, input_ids, scores, **_):
        return input_ids[:, -1] % 3 == 0


def test_a_row_that_another_criterion_ends_is_dropped_too():
    model = made("llama")
    seen = counted(model)
    rows = written(model, PROMPTS, config_of(), Threes())
    ended = [next((at for at, token in enumerate(row) if token % 3 == 0), None) for row in rows]
    assert any(at is not None for at in ended)
    for row, at in zip(rows, ended, strict=True):
        assert at is None or set(row[at + 1 :]) <= {END}
    assert min(rows for rows, _ in seen[1:]) < len(PROMPTS)


@pytest.mark.parametrize("settings", [{"num_beams": 2}, {"no_repeat_ngram_size": 3}], ids=str)
def test_the_prefix_is_not_shared_where_padding_within_a_row_counts(settings):
    model = made("llama")
    batch = decoder_only.prompts(model, Tokenizer, PROMPTS)
    same, cache = with_shared_prefix(model, batch, config_of(**settings))
    assert cache is None
    assert torch.equal(same["input_ids"], batch["input_ids"])


@pytest.mark.parametrize(
    "prompts",
    [[PROMPTS[0]], [[*PREFIX[:9], 4], [*PREFIX[:9], 5]], [[9, *PREFIX], PREFIX]],
    ids=["one", "short", "none"],
)
def test_a_prefix_that_saves_little_is_not_shared(prompts):
    model = made("llama")
    assert with_shared_prefix(model, decoder_only.prompts(model, Tokenizer, prompts), config_of())[1] is None


def test_a_prompt_that_is_the_prefix_of_another_keeps_its_last_token_for_the_generation():
    model, config = made("llama"), config_of()
    prompts = [PREFIX, [*PREFIX, 5], [*PREFIX, 6, 7], [*PREFIX, 8]]
    seen = counted(model)
    got = written(model, prompts, config)
    assert seen[0] == (1, 29)
    assert [row + [END] * (8 - len(row)) for row in got] == [alone(model, prompt, config) for prompt in prompts]
