import copy

import pytest

from summtune.prompts.formats import ChatFormat
from summtune.work.tokens.completions import all_ends, end_of_turn
from summtune.work.tokens.encoding import PromptEncoder

TURNS = "{% for m in messages %}{{ m.role }} {{ m.content }}<end>{% endfor %}"


@pytest.fixture
def encoder_with(tokenizer):
    """Return a function that returns the encoder of prompts of a chat template."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})

    def encoder(chat_template):
        form = ChatFormat(
            template="{dialogue}",
            chat_template=chat_template,
            source="chat_template.jinja",
            special_tokens={},
            system_prompt=None,
            arguments={},
            exemplars_as="turns",
            date=None,
        )
        return PromptEncoder(tokenizer, form, 64, continued=True)

    return encoder


def test_the_last_token_of_a_turn_ends_a_summary(encoder_with):
    encoder = encoder_with(TURNS + "{% if add_generation_prompt %}assistant{% endif %}")
    end = encoder.tokenizer.convert_tokens_to_ids("<end>")
    assert end_of_turn(encoder, [1, end]) == end
    assert all_ends(encoder, [1, end]) == (1, end)


def test_a_template_that_takes_back_the_thought_it_opened_ends_no_turn(encoder_with):
    encoder = encoder_with(TURNS + "{% if add_generation_prompt %}assistant <think>{% endif %}")
    assert end_of_turn(encoder, [1, 2]) is None
    assert all_ends(encoder, [1, 2]) == (1, 2)


def test_a_template_that_alters_the_answer_ends_no_turn(encoder_with):
    encoder = encoder_with(
        TURNS.replace("m.content", "m.content | upper") + "{% if add_generation_prompt %}assistant{% endif %}"
    )
    assert end_of_turn(encoder, [1, 2]) is None
