"""Prompts and whole conversations, as a chat and as plain text: the one begins the other."""

import pytest
from tiny_decoders import CHAT_TEMPLATE

from summtune.prompts.formats import ChatFormat, TextFormat
from summtune.prompts.rendering import rendering_of
from summtune.prompts.templates import BETWEEN_EXEMPLARS
from summtune.runs.records import Dialogue

TEMPLATE = "Summarize {this}:\n{dialogue}\nSummary:"
SHOWN = [Dialogue("a", "Ann: Hi {dialogue}", (" She greets. ", "Another.")), Dialogue("b", "Ben: Ho", ("He greets.",))]


def chat(**changes):
    fields = {
        "template": TEMPLATE,
        "chat_template": CHAT_TEMPLATE,
        "source": "chat_template.jinja",
        "special_tokens": {},
        "arguments": {},
        "exemplars_as": "turns",
    }
    return rendering_of(ChatFormat(**(fields | {"date": None, "system_prompt": None} | changes)))


def turn(role, content):
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


OWN_SYSTEM = turn("system", "You are a helpful AI assistant named SmolLM")
OPENED = "<|im_start|>assistant\n"


def user(dialogue):
    return turn("user", TEMPLATE.replace("{dialogue}", dialogue, 1))


def test_a_dialogue_is_the_user_turn_of_a_chat():
    prompt = chat().prompt("Ann: {dialogue} {{ 1 }}", ())
    assert prompt == OWN_SYSTEM + user("Ann: {dialogue} {{ 1 }}") + OPENED


def test_a_system_prompt_is_the_first_turn():
    assert chat(system_prompt="Be brief.").prompt("x", ()) == turn("system", "Be brief.") + user("x") + OPENED


def test_exemplars_are_earlier_turns_with_their_first_reference():
    earlier = user("Ann: Hi {dialogue}") + turn("assistant", "She greets.")
    earlier += user("Ben: Ho") + turn("assistant", "He greets.")
    assert chat().prompt("x", SHOWN) == OWN_SYSTEM + earlier + user("x") + OPENED


def test_exemplars_as_text_are_in_the_only_user_turn_as_in_plain_text():
    plain = rendering_of(TextFormat(template=TEMPLATE)).prompt("x", SHOWN)
    assert chat(exemplars_as="text").prompt("x", SHOWN) == OWN_SYSTEM + turn("user", plain) + OPENED
    assert plain.count(BETWEEN_EXEMPLARS) == 2
    assert plain.endswith(TEMPLATE.replace("{dialogue}", "x"))


def test_variables_of_the_template_get_the_arguments_before_the_special_tokens():
    form = {"chat_template": "{{ bos_token }}{{ eos_token }}{{ flag }}{% if messages %}.{% endif %}"}
    form |= {"special_tokens": {"bos_token": "<s>", "eos_token": "</s>"}}
    assert chat(**form, arguments={"flag": [1], "eos_token": "own"}).prompt("x", ()) == "<s>own[1]."


@pytest.mark.parametrize("shown", [(), SHOWN])
@pytest.mark.parametrize("rendering", [chat(), chat(exemplars_as="text"), rendering_of(TextFormat(template=TEMPLATE))])
def test_a_conversation_begins_with_its_prompt_and_ends_with_the_summary(rendering, shown):
    prompt = rendering.prompt("Ann: Hi", shown)
    whole = rendering.completed("Ann: Hi", shown, "\n They greet.\n")
    assert whole.startswith(prompt)
    assert whole[len(prompt) :] == ("They greet.<|im_end|>\n" if rendering.is_chat else " They greet.")
