import time

import pytest

from summtune.base.errors import StageError
from summtune.generation.endpoint.faults import (
    Asked,
    Fault,
    Filtered,
    message_of,
    of_connection,
    of_status,
    retry_after,
)

ASKED = Asked("https://a/v1/chat/completions", "m", "MY_KEY", 9)
NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(NOW + 90))}, 90.0),
        ({"retry-after": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(NOW - 90))}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "Thu, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_the_pause_is_read_in_seconds_and_as_a_date(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({"error": {"message": "no\nmodel", "code": "model_not_found"}}, "no model", "model_not_found"),
        ({"message": "quota", "type": "insufficient_quota", "code": 429}, "quota", "insufficient_quota"),
        ({"error": {"message": "x", "code": "400", "innererror": {"code": "content_filter"}}}, "x", "content_filter"),
        ({"detail": "Not Found"}, "Not Found", ""),
        ({"error": "plain"}, "plain", ""),
        ("<html>bad</html>", "<html>bad</html>", ""),
        (["a", 1], '["a", 1]', ""),
        ("", "no message", ""),
        ("x" * 400, "x" * 300 + "…", ""),
    ],
)
def test_the_message_and_the_code_are_found_in_each_form_of_an_error(body, message, code):
    assert message_of(body) == (message, code)


CONTEXT = [
    "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens",
    "the request exceeds the available context size, try increasing it",
    "The decoder prompt (length 9000) is longer than the maximum model length of 4096: max_model_len",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096 (max_total_tokens)",
    "prompt is too long: 210000 tokens > 200000 maximum",
]


@pytest.mark.parametrize("said", CONTEXT)
def test_a_prompt_that_does_not_fit_is_recognized_in_the_words_of_several_servers(said):
    failure = of_status(400, {}, said, "", ASKED)
    assert isinstance(failure, StageError)
    assert "9 new tokens do not fit into the model's context" in str(failure)
    assert said in str(failure)


def test_a_content_filter_is_an_answer():
    assert isinstance(of_status(400, {}, "x", "content_filter", ASKED), Filtered)


def test_an_untrusted_certificate_is_not_tried_again():
    failure = of_connection("ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", ASKED)
    assert isinstance(failure, StageError)
    assert "SSL_CERT_FILE" in str(failure)


@pytest.mark.parametrize(
    ("kind", "cause", "charged"),
    [
        ("ConnectError", "connection", False),
        ("ConnectTimeout", "timeout", False),
        ("ReadTimeout", "timeout", True),
        ("ReadError", "connection", True),
        ("RemoteProtocolError", "connection", True),
    ],
)
def test_only_a_connection_that_was_made_may_be_charged_for(kind, cause, charged):
    fault = of_connection(kind, "x", ASKED)
    assert isinstance(fault, Fault)
    assert (fault.cause, fault.charged) == (cause, charged)
