import copy
import platform

import pytest
import torch
from tiny_decoders import ARCHITECTURES, END, UNKNOWN, made, write_tokenizer
from tiny_inputs import EOS, dialogues, write_bart
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    SwitchTransformersConfig,
    SwitchTransformersForConditionalGeneration,
)

from summtune.prompts.formats import TextFormat
from summtune.recipe.sections import Generation
from summtune.runs.records import Dialogue
from summtune.work.generation.decoding import generate, generation_config, place
from summtune.work.models import encoder_decoder
from summtune.work.models.loading import load_model, load_tokenizer
from summtune.work.tokens.encoding import PromptEncoder


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32).eval()


@pytest.fixture
def prompts(tokenizer):
    asked = [Dialogue(row["id"], row["dialogue"], (row["summary"],)) for row in dialogues(8, seed=3)]
    return [prompt.ids for prompt in PromptEncoder(tokenizer, TextFormat(template="{dialogue}"), 512).encode(asked)]


def test_settings_of_the_model_do_not_leak_into_generation(model, tokenizer, prompts, monkeypatch):
    expected = generate(model, tokenizer, prompts, generation_config(model, Generation(max_new_tokens=12)))
    own = copy.deepcopy(model.generation_config)
    own.no_repeat_ngram_size, own.max_new_tokens = 1, 12
    monkeypatch.setattr(model, "generation_config", own)
    assert generate(model, tokenizer, prompts, own) != expected
    monkeypatch.setattr(model, "generation_config", copy.deepcopy(own))
    assert generate(model, tokenizer, prompts, generation_config(model, Generation(max_new_tokens=12))) == expected


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "length_penalty": 2.0}, {"no_repeat_ngram_size": 2}])
def test_the_text_does_not_depend_on_the_batch_size(model, tokenizer, prompts, settings):
    config = generation_config(model, Generation(max_new_tokens=10, **settings))
    together = [one for start in (0, 4) for one in generate(model, tokenizer, prompts[start : start + 4], config)]
    alone = [generate(model, tokenizer, [ids], config)[0] for ids in prompts]
    assert together == alone
    # Beams of a random model all find the same text; without beams the texts differ.
    assert "num_beams" in settings or len({one.text for one in alone}) > 1


class Scripted(torch.nn.Module):
    """A model with a fixed output: the tests are about what ``generate`` makes of it."""

    device = torch.device("cpu")
    config = BartConfig()

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def get_encoder(self):
        return self

    def get_input_embeddings(self):
        return torch.nn.Embedding(1, 1)

    def generate(self, **_):
        return self.rows


def test_new_tokens_and_the_length_cap_follow_from_the_end_of_sequence(tokenizer):
    word = tokenizer("They")["input_ids"][0]
    rows = [[0, word, word, 1, 0], [0, word, word, word, word], [0, 1, 0, 0, 0], [0, word, word, word, 1]]
    results = generate(Scripted(rows), tokenizer, [[5, 1]] * 4, GenerationConfig(num_beams=2, eos_token_id=1))
    assert [one.new_tokens for one in results] == [3, 4, 1, 4]
    assert [one.prompt_tokens for one in results] == [2, 2, 2, 2]
    assert [one.hit_length_cap for one in results] == [False, True, False, False]
    assert results[2].text == ""
    assert results[0].text == tokenizer.decode([word, word])


@pytest.fixture
def thinker(tokenizer):
    """A tokenizer whose markers of thoughts are tokens that are not special, as those of Qwen 3 are."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


def test_a_thought_is_taken_out_of_the_text_and_kept(thinker):
    word = thinker("They")["input_ids"][0]
    opens, closes = thinker.convert_tokens_to_ids(["<think>", "</think>"])
    rows = [
        [0, opens, word, closes, word, word, 1],
        [0, word, closes, word, 1, 0, 0],
        [0, opens, word, word, word, word, word],
    ]
    results = generate(Scripted(rows), thinker, [[5, 1]] * 3, GenerationConfig(num_beams=2, eos_token_id=1))
    they, twice = thinker.decode([word]), thinker.decode([word, word])
    assert [(one.text, one.thinking) for one in results] == [
        (twice, they),
        (they, they),
        ("", thinker.decode([word] * 5)),
    ]
    assert [(one.new_tokens, one.hit_length_cap) for one in results] == [(6, False), (4, False), (6, True)]


@pytest.mark.parametrize("reasons", [True, False])
def test_a_thought_that_the_prompt_opens_and_nothing_closes_is_no_summary(thinker, reasons):
    word = thinker("They")["input_ids"][0]
    opens = thinker.convert_tokens_to_ids("<think>")
    rows = [[0, word, word], [0, word, word], [0, word, 1]]
    prompts = [[word, opens], [opens, word], [word, opens]]
    config = GenerationConfig(num_beams=2, eos_token_id=1)
    results = generate(Scripted(rows), thinker, prompts, config, (), reasons)
    they, twice = thinker.decode([word]), thinker.decode([word, word])
    assert [one.thinking for one in results] == [twice if reasons else None, None, None]
    assert [one.text for one in results] == ["" if reasons else twice, twice, they]


@pytest.mark.parametrize("forced", [1, [1, 7]])
def test_an_end_forced_at_the_last_position_counts_as_the_length_cap(tokenizer, forced):
    word = tokenizer("They")["input_ids"][0]
    rows = [[0, word, word, 1, 0], [0, word, word, word, 1], [0, 1, 0, 0, 0]]
    config = GenerationConfig(num_beams=2, eos_token_id=[1, 7], forced_eos_token_id=forced, max_new_tokens=4)
    results = generate(Scripted(rows), tokenizer, [[5, 1]] * 3, config)
    assert [(one.new_tokens, one.hit_length_cap) for one in results] == [(3, False), (4, True), (1, False)]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
def test_a_bart_that_does_not_end_by_itself_hits_the_length_cap(tmp_path, tokenizer, prompts, settings):
    model = load_model(write_bart(tmp_path), torch.float32).eval()
    model.final_logits_bias[0, EOS] = -1e4
    results = generate(
        model, tokenizer, prompts[:3], generation_config(model, Generation(max_new_tokens=5, **settings))
    )
    assert [(one.new_tokens, one.hit_length_cap) for one in results] == [(5, True)] * 3


def test_padding_that_the_model_itself_generates_counts_as_tokens(model, tokenizer, prompts):
    with torch.no_grad():
        model.lm_head.weight.zero_()  # the first token of the vocabulary, the padding, is the most probable one
    (one,) = generate(model, tokenizer, prompts[:1], generation_config(model, Generation(max_new_tokens=5)))
    assert (one.text, one.new_tokens, one.hit_length_cap) == ("", 5, True)


@pytest.mark.parametrize("cap", [1, 7])
def test_generation_ends_at_max_new_tokens(model, tokenizer, prompts, cap):
    model.generation_config.max_length = 3  # the model's own limit has no effect
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0.0
    results = generate(model, tokenizer, prompts[:3], generation_config(model, Generation(max_new_tokens=cap)))
    assert [(one.new_tokens, one.hit_length_cap) for one in results if one.hit_length_cap] != []
    assert all(one.new_tokens == cap for one in results if one.hit_length_cap)


@pytest.mark.parametrize("settings", [{}, {"max_new_tokens": 9}, {"num_beams": 4}, {"do_sample": True, "top_p": 0.9}])
def test_the_config_always_has_a_cap_and_the_special_tokens(model, settings):
    config = generation_config(model, Generation(**settings))
    assert config.max_new_tokens == settings.get("max_new_tokens", 128)
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 0)
    assert config.num_beams == settings.get("num_beams", 1)
    assert config.do_sample is settings.get("do_sample", False)


def test_special_tokens_come_from_the_model_config_where_there_is_no_generation_config(model):
    own = model.generation_config
    own.decoder_start_token_id = own.eos_token_id = own.pad_token_id = None
    model.config.decoder_start_token_id = 7
    config = generation_config(model, Generation())
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (7, 1, 0)


def ending(model, ends, end=1):
    """Make each row end with its n-th token, n by the length of its prompt, and never before."""

    def force(_, __, given, output):
        if given.get("decoder_input_ids") is not None:
            written = output.past_key_values.get_seq_length()  # including the token that is chosen now
            logits = output.logits[:, -1]
            logits[:, end] = -1e4
            due = [ends[int(length)] == written for length in given["attention_mask"].sum(1)]
            logits[torch.tensor(due), end] = 1e4

    return model.register_forward_hook(force, with_kwargs=True)


def counted(model):
    """Return a list that gets the number of rows of each step of the decoder."""
    rows = []
    model.get_decoder().register_forward_hook(lambda _, __, output: rows.append(len(output.last_hidden_state)))
    return rows


ENDS = {4: 3, 5: 9, 6: 1, 7: 12, 8: 3, 9: 40, 10: 4, 11: 2, 12: 12, 13: 25}
RAGGED = [[5 + (3 * length + place) % 50 for place in range(length - 1)] + [1] for length in ENDS]


def bart():
    """Return a BART that, like the real one, starts with the token that also ends."""
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=100, d_model=16, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, init_std=0.5, forced_eos_token_id=None, pad_token_id=0,
        eos_token_id=2, bos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


@pytest.mark.parametrize("settings", [{}, {"no_repeat_ngram_size": 2}, {"max_new_tokens": 12}])
@pytest.mark.parametrize("which", ["t5", "t5 as placed", "bart"])
def test_finished_rows_are_left_out_and_the_text_stays_the_same(which, settings, checkpoint, tokenizer):
    model = bart() if which == "bart" else load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(**({"max_new_tokens": 30} | settings)))
    ending(model, ENDS, config.eos_token_id)
    steps = counted(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_decoder, "takes_one_path", lambda *_: False)
        whole = generate(model, tokenizer, RAGGED, config)
    cap = config.max_new_tokens
    assert steps == [10] * cap
    assert [one.new_tokens for one in whole] == [min(end, cap) for end in ENDS.values()]
    if which == "t5 as placed":
        place(model, torch.device("cpu"), print)
    steps.clear()
    assert generate(model, tokenizer, RAGGED, config) == whole
    assert len(steps) == cap
    assert steps == [10] * 3 + [6] * 6 + [4] * (cap - 9)  # at most three quarters are left; four stay together


def test_four_rows_stay_together_until_the_last_one_ends(checkpoint, tokenizer):
    model = load_model(checkpoint, torch.float32).eval()
    ending(model, ENDS)
    steps = counted(model)
    generate(model, tokenizer, RAGGED[:4], generation_config(model, Generation()))
    assert steps == [4] * 12


@pytest.mark.parametrize("settings", [{"num_beams": 2}, {"do_sample": True}])
def test_beams_and_samples_equal_those_of_transformers(checkpoint, tokenizer, settings):
    model = load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(max_new_tokens=7, **settings))
    torch.manual_seed(5)
    ours = generate(model, tokenizer, RAGGED, config)
    torch.manual_seed(5)
    batch = tokenizer.pad({"input_ids": RAGGED}, return_tensors="pt")
    expected = tokenizer.batch_decode(model.generate(**batch, generation_config=config), skip_special_tokens=True)
    assert [one.text for one in ours] == [text.strip() for text in expected]


def test_without_an_end_of_sequence_token_all_rows_run_to_the_cap(checkpoint, tokenizer):
    model = load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(max_new_tokens=6))
    config.eos_token_id = None
    ending(model, ENDS)
    steps = counted(model)
    generate(model, tokenizer, RAGGED, config)
    assert steps == [10] * 6


@pytest.mark.parametrize("missing", ["pad_token_id", "decoder_start_token_id"])
def test_rows_stay_together_where_transformers_has_to_guess_a_special_token(checkpoint, tokenizer, missing):
    model = load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(max_new_tokens=20))
    config.bos_token_id = 0
    ending(model, ENDS)
    steps = counted(model)
    expected = generate(model, tokenizer, RAGGED, config)
    assert steps[-1] < 10
    setattr(config, missing, None)
    steps.clear()
    assert generate(model, tokenizer, RAGGED, config) == expected
    assert steps == [10] * 20


def test_a_row_ends_at_any_of_several_end_of_sequence_tokens(checkpoint, tokenizer):
    model = load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(max_new_tokens=60))
    config.eos_token_id = [1, 9]
    ending(model, ENDS, end=9)

    def never(_, __, output):  # no row ends with the other one
        output.logits[:, -1, 1] = -1e4

    model.register_forward_hook(never)
    results = generate(model, tokenizer, RAGGED, config)
    assert [(one.new_tokens, one.hit_length_cap) for one in results] == [(end, False) for end in ENDS.values()]


def test_an_encoder_may_return_more_than_its_states(tokenizer):
    torch.manual_seed(0)
    shape = {"vocab_size": 100, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    shape |= {"num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}
    config = SwitchTransformersConfig(**shape, num_experts=2, expert_capacity=64, decoder_start_token_id=0)
    model = SwitchTransformersForConditionalGeneration(config).eval()
    ending(model, ENDS)
    results = generate(model, tokenizer, RAGGED, generation_config(model, Generation(max_new_tokens=50)))
    assert [one.new_tokens for one in results] == list(ENDS.values())


def test_a_model_placed_on_a_cpu_writes_the_same_text(checkpoint, tokenizer, prompts):
    model = load_model(checkpoint, torch.float32).eval()
    config = generation_config(model, Generation(max_new_tokens=12))
    before = generate(model, tokenizer, prompts, config)
    place(model, torch.device("cpu"), print)
    assert generate(model, tokenizer, prompts, config) == before
    encoder = model.get_encoder()
    assert encoder.forward.__func__ is not type(encoder).forward, "the encoder still encodes all rows at once"
    assert model.lm_head.weight.is_mkldnn == (platform.machine() == "x86_64" and torch.backends.mkldnn.is_available())


@pytest.fixture(scope="module")
def chat_tokenizer(tmp_path_factory):
    """A tokenizer whose end of a turn pads and ends a text."""
    return load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


# Longer and shorter than the windows, and of one token: padding of 1 to 59 tokens.
LEFT_PADDED = [[3 + (7 * place + length) % 370 for place in range(length)] for length in (60, 1, 17, 33, 59, 2, 16)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_text_of_a_decoder_only_model_does_not_depend_on_its_batch(architecture, chat_tokenizer):
    model = made(architecture)
    config = generation_config(model, Generation(max_new_tokens=20))
    together = generate(model, chat_tokenizer, LEFT_PADDED, config)
    assert together == [generate(model, chat_tokenizer, [ids], config)[0] for ids in LEFT_PADDED]
    assert len({one.text for one in together}) > 2
    assert [one.prompt_tokens for one in together] == [len(ids) for ids in LEFT_PADDED]


@pytest.mark.parametrize("settings", [{"num_beams": 3, "length_penalty": 2.0}, {"no_repeat_ngram_size": 2}])
@pytest.mark.parametrize("architecture", ["llama, tied", "mistral", "gpt2"])
def test_beams_of_a_decoder_only_model_do_not_depend_on_the_batch(architecture, settings, chat_tokenizer):
    model = made(architecture)
    config = generation_config(model, Generation(max_new_tokens=10, **settings))
    together = generate(model, chat_tokenizer, LEFT_PADDED, config)
    assert together == [generate(model, chat_tokenizer, [ids], config)[0] for ids in LEFT_PADDED]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}, {"do_sample": True, "top_p": 0.9}])
def test_the_text_of_a_decoder_only_model_is_that_of_transformers(settings, chat_tokenizer):
    model = made("llama, tied")
    config = generation_config(model, Generation(max_new_tokens=12, **settings))
    ids = LEFT_PADDED[2]
    torch.manual_seed(5)
    (ours,) = generate(model, chat_tokenizer, [ids], config)
    torch.manual_seed(5)
    written = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), generation_config=config)
    assert ours.text == chat_tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True).strip()


def writing(model, rows):
    """Make each row write given tokens; the row is known by the first token of its prompt."""

    def force(_, __, given, output):
        mask = given["attention_mask"]
        lengths = mask.sum(1)
        for at, row in enumerate(rows):
            place = int(lengths[at]) - len(LEFT_PADDED[at])
            output.logits[at, -1] = -1e4
            output.logits[at, -1, row[min(place, len(row) - 1)]] = 1e4

    return model.register_forward_hook(force, with_kwargs=True)


def test_every_end_token_of_a_decoder_only_model_stops_its_row(chat_tokenizer):
    model = made("llama, tied")
    config = generation_config(model, Generation(max_new_tokens=6), (END, UNKNOWN, 40))
    word = chat_tokenizer("The")["input_ids"]
    rows = [[*word, END], [*word, *word, UNKNOWN], [*word, 40], [*word, 50, 50, 50, 50, 50, 50]]
    writing(model, rows)
    results = generate(model, chat_tokenizer, LEFT_PADDED[:4], config)
    assert [one.new_tokens for one in results] == [len(rows[0]), len(rows[1]), len(rows[2]), 6]
    assert [one.hit_length_cap for one in results] == [False, False, False, True]
    # The third one ends with a token that is not special: it is no part of the summary either.
    assert [one.text for one in results[:3]] == ["The", "TheThe", "The"]


def test_stop_texts_end_the_rows_of_a_decoder_only_model(chat_tokenizer):
    model = made("llama, tied")
    config = generation_config(model, Generation(max_new_tokens=9), (END,))
    words = chat_tokenizer("They\n\nThey")["input_ids"]
    other = chat_tokenizer("They agree")["input_ids"]
    writing(model, [words, [*other, END]])
    stopped, ended = generate(model, chat_tokenizer, LEFT_PADDED[:2], config, stops=("\n\n",))
    assert (stopped.text, stopped.hit_length_cap) == ("They", False)
    assert stopped.new_tokens == len(chat_tokenizer("They\n\n")["input_ids"])
    assert (ended.text, ended.new_tokens, ended.hit_length_cap) == ("They agree", len(other) + 1, False)
