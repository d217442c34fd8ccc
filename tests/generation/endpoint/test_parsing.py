"""Answers as servers write them."""

import json

import pytest
from misbehaving_server import answer

from summtune.generation.endpoint.faults import Asked, Fault
from summtune.generation.endpoint.parsing import output_of
from summtune.generation.endpoint.secrecy import Secret

ASKED = Asked("http://a/v1/chat/completions", "m", None, 9)


def output(body, opened=False):
    text = body if isinstance(body, str) else json.dumps(body)
    return output_of(text, opened=opened, requests=1, seconds=0.5, secret=Secret(None), asked=ASKED)


@pytest.mark.parametrize(
    ("content", "text", "thinking"),
    [
        (" They greet. ", "They greet.", None),
        ("<think>Hm.</think>They greet.", "They greet.", "Hm."),
        ([{"type": "text", "text": "They "}, {"type": "text", "text": "greet."}], "They greet.", None),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "They greet."},
            ],
            "They greet.",
            "Hm.",
        ),
        (None, "", None),
        (7, "", None),
        ("a lone \ud800 surrogate", "a lone ? surrogate", None),
    ],
)
def test_the_text_is_found_in_each_form_of_content(content, text, thinking):
    found = output(answer(content))
    assert (found.text, found.thinking) == (text, thinking)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_that_the_server_took_out_is_kept(field):
    found = output(answer("They greet.", message={field: " Hm. "}))
    assert (found.text, found.thinking) == ("They greet.", "Hm.")


def test_a_message_without_content_is_an_empty_answer():
    body = answer("", finish_reason="length")
    del body["choices"][0]["message"]["content"]
    found = output(body)
    assert (found.text, found.hit_length_cap) == ("", True)


def test_a_refusal_by_finish_reason_has_its_text_apart():
    found = output(answer("I cannot.", finish_reason="refusal"))
    assert (found.text, found.answer.refusal) == ("", "I cannot.")


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"prompt_tokens": None, "completion_tokens": 5}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 5}},
        {"usage": {"prompt_tokens": 1.5, "completion_tokens": 5}},
        {"usage": {"prompt_tokens": 2**63, "completion_tokens": 5}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 10**9 + 1}},
        {"usage": "much"},
    ],
)
def test_odd_usage_is_unknown_and_the_answer_is_kept(odd):
    found = output(answer("They greet.", **odd))
    assert (found.text, found.prompt_tokens, found.answer.usage) == ("They greet.", None, None)


@pytest.mark.parametrize(("total", "new"), [(525, 505), (25, 5), (3, 5), (None, 5), ("many", 5), (2**62, 5)])
def test_thoughts_that_only_the_total_counts_are_generated_tokens(total, new):
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": total}
    assert output(answer("They greet.", usage=usage)).answer.usage.new_tokens == new


@pytest.mark.parametrize("created", ["today", 1e30, -1e30, True, [1]])
def test_an_odd_date_is_unknown(created):
    assert output(answer("x", created=created)).answer.created is None


def test_odd_names_are_unknown_or_cut():
    found = output(answer("x", model=7, system_fingerprint="f" * 5000)).answer
    assert found.model is None
    assert len(found.fingerprint) == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"choices": {}}',
        '{"choices": [null]}',
        '{"choices": [{"index": 0}]}',
    ],
)
def test_what_has_no_text_is_a_fault_that_may_be_charged_for(body):
    with pytest.raises(Fault) as caught:
        output(body)
    assert (caught.value.cause, caught.value.charged) == ("unusable answer", True)


def test_a_prompt_that_opened_a_thought_is_answered_by_one_only_where_it_was_cut():
    assert output(answer("Hm", finish_reason="length"), opened=True).thinking == "Hm"
    assert output(answer("They greet."), opened=True).text == "They greet."
