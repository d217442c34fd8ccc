import pytest

from summtune.generation.endpoint.requests import ChatRequests, TokenRequests, new_tokens_at_most, settings_of
from summtune.recipe.sections import Generation

GREEDY = Generation(max_new_tokens=9)


def settings(generation=GREEDY, stops=(), **extra_body):
    return settings_of("m", generation, 42, stops, extra_body)


def test_greedy_requests_have_a_temperature_of_0_and_no_seed():
    assert settings() == {"model": "m", "max_tokens": 9, "temperature": 0}


def test_sampling_requests_have_the_recipes_settings_and_seed():
    sampling = Generation(max_new_tokens=9, do_sample=True, temperature=0.7, top_p=0.9)
    assert settings(sampling, ["\n\n"]) == {
        "model": "m", "max_tokens": 9, "temperature": 0.7, "top_p": 0.9, "seed": 42, "stop": ["\n\n"],
    }  # fmt: skip


def test_extra_fields_replace_those_of_the_same_name_and_null_removes_one():
    assert settings(temperature=None, max_tokens=7, top_k=3) == {"model": "m", "max_tokens": 7, "top_k": 3}


def test_max_completion_tokens_takes_the_place_of_max_tokens():
    assert settings(max_completion_tokens=500) == {"model": "m", "temperature": 0, "max_completion_tokens": 500}


@pytest.mark.parametrize(
    ("extra_body", "most"),
    [
        ({}, 9),
        ({"max_completion_tokens": 500}, 500),
        ({"n": 3}, 27),
        ({"max_tokens": 20}, 20),
        ({"max_tokens": None}, 9),
        ({"max_tokens": -1}, 9),
        ({"max_tokens": 2**63}, 10**9),
    ],
)
def test_the_most_that_a_request_generates_counts_limits_and_choices(extra_body, most):
    assert new_tokens_at_most(settings(**extra_body), GREEDY) == most


def test_the_upper_bound_of_a_chat_holds_for_bytes_and_the_template():
    prompt = [{"role": "system", "content": "Summarize."}, {"role": "user", "content": "客服" * 100}]
    chat = ChatRequests()
    assert chat.fields(prompt) == {"messages": prompt}
    assert chat.tokens(prompt) == 4 + 10 // 4 + 4 + 200 // 4
    assert chat.tokens_at_most(prompt) >= 10 + 600


def test_token_ids_are_counted_exactly():
    requests = TokenRequests()
    assert requests.fields([5, 6, 7]) == {"prompt": [5, 6, 7]}
    assert requests.tokens([5, 6, 7]) == requests.tokens_at_most([5, 6, 7]) == 3
    assert requests.opens_thought([5]) is False
