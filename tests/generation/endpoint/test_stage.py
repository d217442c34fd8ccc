"""The predict stage against a server on this machine: what is sent, stored, counted, and asked again."""

import contextlib
import errno
import time

import pytest
from endpoint_runs import Run
from misbehaving_server import MODEL, MisbehavingServer, Reply, always, answer, error, once, well

from summtune.base.errors import StageError
from summtune.generation import partial
from summtune.generation.endpoint import ledger
from summtune.generation.endpoint.ledger import LEDGER_FILE
from summtune.recipe.endpoint import TokenPrice
from summtune.recipe.sections import Generation

SIX = [f"t{number}" for number in range(6)]


def test_each_distinct_prompt_is_asked_once_and_its_answer_is_stored(tmp_path):
    with MisbehavingServer() as server:
        run = Run(tmp_path, ["one", "two", "one", "three"]).predict(server)
    assert sorted(server.asked) == ["one", "three", "two"]
    first, _, third, _ = run.predictions
    assert (first.id, first.prediction, first.references) == ("d0", "answer to one", ("Hi.",))
    assert (first.prompt_tokens, first.new_tokens, first.hit_length_cap, first.truncated) == (20, 5, False, False)
    assert third.prediction == first.prediction
    assert first.answer.model == MODEL
    assert first.answer.fingerprint == "fp_1"
    assert first.answer.created == "2026-09-21T14:13:20Z"
    assert (first.answer.finish_reason, first.answer.requests) == ("stop", 1)
    assert run.stats.endpoint.requests == run.stats.unique_prompts == 3
    assert run.stats.endpoint.models == {MODEL: 3}
    assert (run.stats.endpoint.prompt_tokens, run.stats.endpoint.new_tokens) == (60, 15)
    assert (run.stats.prompt_tokens, run.stats.generated_tokens, run.stats.device_seconds) == (60, 15, None)
    assert run.progress[0] == (0, 3)
    assert run.progress[-1] == (3, 3)
    assert run.said == []
    assert not (tmp_path / "predictions.partial").exists()


def test_requests_have_the_messages_and_greedy_settings(tmp_path):
    with MisbehavingServer() as server:
        Run(tmp_path, ["one"]).predict(server, extra_body={"top_k": 5})
    assert server.bodies == [
        {
            "messages": [{"role": "system", "content": "Summarize."}, {"role": "user", "content": "one"}],
            "model": MODEL,
            "max_tokens": 128,
            "temperature": 0,
            "top_k": 5,
        }
    ]


FAULTS = {
    "429 without Retry-After": (error(429, "slow down"), "rate limit", False),
    "500": (error(500, "oh"), "server error", False),
    "502 from a proxy, in HTML": (Reply(b"<html>bad gateway</html>", 502), "server error", False),
    "408": (error(408, "late"), "timeout", False),
    "409": (error(409, "busy"), "conflict", False),
    "half a body": (Reply(answer("half"), share=0.5), "connection", True),
    "garbage": (Reply(b"{garbage"), "unusable answer", True),
    "no choices": (Reply(answer("x", choices=[])), "unusable answer", True),
    "an error as a success": (Reply({"error": {"code": 503, "message": "overloaded"}}), "server error", False),
    "a dropped connection": (Reply(None, 0), "connection", True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_prompt_is_asked_again_after_a_fault_which_is_counted(tmp_path, name):
    fault, cause, charged = FAULTS[name]
    with MisbehavingServer(once(fault)) as server:
        run = Run(tmp_path, SIX).predict(server)
    assert sorted(server.asked) == sorted(2 * SIX)
    assert [one.prediction for one in run.predictions] == [f"answer to {text}" for text in SIX]
    assert {one.answer.requests for one in run.predictions} == {2}
    assert run.stats.endpoint.retries == {cause: 6}
    assert run.stats.endpoint.requests == 12
    assert run.stats.endpoint.unanswered == (6 if charged else 0)
    assert any("6 requests got no whole answer" in text for text in run.said) is charged


def test_a_request_without_an_answer_in_time_is_given_up_and_sent_again(tmp_path):
    with MisbehavingServer(once(lambda prompt: Reply(answer("late"), seconds=20))) as server:
        run = Run(tmp_path, ["one"]).predict(server, timeout=1.0)
    assert server.asked == ["one", "one"]
    assert run.stats.endpoint.retries == {"timeout": 1}
    assert run.predictions[0].prediction == "answer to one"


def test_the_first_fault_of_a_kind_is_shown_while_the_run_lasts(tmp_path):
    with MisbehavingServer(once(error(500, "oh"))) as server:
        run = Run(tmp_path, SIX).predict(server)
    assert run.said == ["a request got no usable answer and is sent again (got HTTP 500: oh); others are counted"]
    assert run.stats.warnings == ()


def test_the_pause_that_a_server_asks_for_is_kept_by_all_requests(tmp_path):
    times = []

    def behave(prompt, number):
        times.append(time.monotonic())
        return error(429, "slow down", headers={"retry-after": "1"}) if len(times) == 1 else well(prompt, number)

    with MisbehavingServer(behave) as server:
        Run(tmp_path, SIX).predict(server, concurrency=1)
    assert times[1] - times[0] >= 1
    assert len(times) == 7


def test_a_pause_that_takes_hours_ends_the_run_at_once(tmp_path):
    with (
        MisbehavingServer(always(error(429, "daily limit", headers={"retry-after": "7300"}))) as server,
        pytest.raises(StageError, match=r"asks to wait 2 h 02 min .*got HTTP 429: daily limit.*; give the command"),
    ):
        Run(tmp_path, SIX).predict(server, concurrency=1)
    assert len(server.asked) == 1


def test_a_server_that_never_answers_ends_the_run_and_what_was_answered_is_kept(tmp_path):
    def behave(prompt, number):
        return error(503, "overloaded") if prompt == "t4" else well(prompt, number)

    run = Run(tmp_path, SIX)
    with MisbehavingServer(behave) as server:
        with pytest.raises(
            StageError,
            match=r"sent 3 times \(got HTTP 503: overloaded\); look at .*\. 4 of 6 prompts are answered and kept: the "
            r"same command asks for the rest",
        ):
            run.predict(server, max_retries=2, concurrency=1)
        assert server.asked == ["t0", "t1", "t2", "t3", "t4", "t4", "t4"]
        server.behave = well
        server.forget()
        run.predict(server, concurrency=1)
    assert server.asked == ["t4", "t5"]
    assert run.stats.endpoint.requests == 9
    assert run.stats.endpoint.retries == {"server error": 3}


def test_a_server_that_is_not_there_is_named_with_what_to_check(tmp_path):
    with pytest.raises(StageError, match=r"sent 2 times \(got ConnectError: .*\); check that the server at endpoint.u"):
        Run(tmp_path, ["one"]).predict("http://127.0.0.1:9/v1", max_retries=1)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            error(401, "bad key"),
            r"does not accept a request without a key \(got HTTP 401 .*bad key\); set endpoint.api",
        ),
        (error(403, "not yours"), rf"forbids a request without a key to use the model {MODEL} .*not yours"),
        (error(404, "no such model"), rf"got HTTP 404 for model {MODEL} .*; set endpoint.model to .*: a, b"),
        (error(429, "no credit", "insufficient_quota"), r"nothing left to spend .*got HTTP 429 .*; add credit"),
        (error(402, "pay"), r"nothing left to spend .*got HTTP 402"),
        (error(400, "This model's maximum context length is 4096 tokens"), r"do not fit .*; show fewer exemplars"),
        (
            error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
            r"set `extra_body: \{max_completion_tokens: 128\}`",
        ),
        (error(400, "Unsupported value: 'temperature' does not support 0"), r"extra_body: \{temperature: null\}"),
        (error(418, "teapot"), r"got HTTP 418 .*teapot\); correct the section endpoint"),
    ],
)
def test_what_will_not_pass_ends_the_run_at_once_with_what_to_do(tmp_path, fault, message):
    with (
        MisbehavingServer(always(fault), models=["b", "a"]) as server,
        pytest.raises(StageError, match=f"{message}.*0 of 6 prompts are answered"),
    ):
        Run(tmp_path, SIX).predict(server, concurrency=1)
    assert len(server.asked) == 1


def test_a_wrong_address_is_explained(tmp_path):
    with MisbehavingServer() as server:
        url = f"http://127.0.0.1:{server.port}/wrong"
        with pytest.raises(StageError, match=rf"model {MODEL} at {url}/chat/completions.*; correct endpoint.url"):
            Run(tmp_path, ["one"]).predict(url)


def one_prediction(tmp_path, body, **changes):
    with MisbehavingServer(always(Reply(body))) as server:
        run = Run(tmp_path, ["one"]).predict(server, **changes)
    return run, run.predictions[0]


def test_an_answer_that_max_tokens_ended_hit_the_length_cap(tmp_path):
    _, found = one_prediction(tmp_path, answer("a b", finish_reason="length"))
    assert found.hit_length_cap is True


def test_a_refusal_is_kept_apart_from_the_prediction_and_reported(tmp_path):
    run, found = one_prediction(tmp_path, answer(None, message={"refusal": "I cannot."}))
    assert (found.prediction, found.answer.refusal) == ("", "I cannot.")
    assert run.stats.endpoint.refusals == 1
    assert run.said == ["test: the model refused 1 of 1 answer, so the prediction is empty"]
    assert run.stats.warnings == tuple(run.said)


def test_a_text_that_a_content_filter_cut_is_counted(tmp_path):
    run, found = one_prediction(tmp_path, answer("They", finish_reason="content_filter"))
    assert (found.prediction, run.stats.endpoint.content_filters) == ("They", 1)
    assert "content filter withheld or cut 1 of 1 answer" in run.said[0]


def test_a_prompt_that_a_content_filter_withheld_is_an_empty_prediction(tmp_path):
    with MisbehavingServer(always(error(400, "filtered", "content_filter"))) as server:
        run = Run(tmp_path, ["one"]).predict(server)
    assert server.asked == ["one"]
    assert (run.predictions[0].prediction, run.stats.endpoint.content_filters) == ("", 1)
    assert run.predictions[0].answer.finish_reason == "content_filter"


def test_an_empty_answer_is_counted_and_not_asked_again(tmp_path):
    run, found = one_prediction(tmp_path, answer(""))
    assert (found.prediction, run.stats.endpoint.empty, run.stats.endpoint.requests) == ("", 1, 1)
    assert "1 of 1 answer had no text" in run.said[0]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("tool_calls", "remove tools and functions from endpoint.extra_body"),
        ("length", "a higher generation.max_new_tokens"),
        ("stop", "change the prompt or the model"),
    ],
)
def test_the_finish_reasons_of_empty_answers_are_named(tmp_path, reason, advice):
    run, _ = one_prediction(tmp_path, answer(None, finish_reason=reason))
    assert f"1 of 1 answer had no text, so the prediction is empty; their finish_reason is {reason} (1)" in run.said[0]
    assert advice in run.said[0]


def test_counts_too_large_to_be_true_do_not_spoil_what_is_kept(tmp_path):
    usage = {"prompt_tokens": 2**62, "completion_tokens": 2**62}
    run = Run(tmp_path, SIX)
    with MisbehavingServer(always(Reply(answer("They greet.", usage=usage)))) as server:
        run.predict(server, price=PRICE)
    assert run.stats.endpoint.without_usage == len(run.predictions) == 6


@pytest.mark.parametrize("full", ["partial.appending", "ledger._KeptLedger._write"])
def test_a_full_disk_ends_the_sending_and_what_was_kept_is_said(tmp_path, monkeypatch, full):
    written = []

    def check():
        written.append(1)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    if full == "partial.appending":

        @contextlib.contextmanager
        def appending(folder, rank):
            with partial.appending(folder, rank) as append:
                yield lambda *line: (check(), append(*line))

        monkeypatch.setattr("summtune.generation.resuming.appending", appending)
    else:
        write = ledger._KeptLedger._write
        monkeypatch.setattr(ledger._KeptLedger, "_write", lambda *line: (check(), write(*line)))
    run = Run(tmp_path, [f"t{number}" for number in range(100)])
    with MisbehavingServer(always(Reply(answer("They greet."), seconds=0.02))) as server:
        with pytest.raises(StageError, match=r"no space is left on the disk; .*\. (\d) of 100 prompts are") as caught:
            run.predict(server)
        assert len(server.asked) <= 5 + 3 * 4  # in flight and in the queue, at a concurrency of 4
        kept = len(partial.read_outputs(tmp_path / "predictions.partial"))
        assert f". {kept} of 100 prompts are answered and kept" in str(caught.value)
        monkeypatch.undo()
        server.forget()
        run.predict(server)
    assert len(server.asked) == 100 - kept


def test_a_redirect_is_not_followed_and_its_target_is_named(tmp_path):
    with MisbehavingServer() as other:
        moved = Reply(b"", 307, {"location": f"{other.url}/chat/completions?next=1"})
        with (
            MisbehavingServer(always(moved)) as server,
            pytest.raises(
                StageError,
                match=rf"got HTTP 307 from .* to {other.url}/chat/completions\); set endpoint.url to {other.url} if",
            ),
        ):
            Run(tmp_path, SIX).predict(server, concurrency=1)
    assert (other.asked, len(server.asked)) == ([], 1)


def test_without_usage_the_token_counts_are_unknown_and_that_is_reported(tmp_path):
    run, found = one_prediction(tmp_path, answer("They greet.", usage=None))
    assert found.prompt_tokens is found.new_tokens is found.answer.usage is None
    assert run.stats.endpoint.without_usage == 1
    assert "did not count the tokens of 1 of 1 answer" in run.said[0]


def test_another_model_than_asked_for_is_named(tmp_path):
    run, _ = one_prediction(tmp_path, answer("They greet.", model="other"))
    assert run.stats.endpoint.models == {"other": 1}
    assert run.said == [f"test: another model than {MODEL} gave 1 of 1 answer: other (1)"]


def test_of_several_choices_the_first_is_taken_and_that_is_reported(tmp_path):
    body = answer("first")
    body["choices"] += answer("second")["choices"]
    run, found = one_prediction(tmp_path, body)
    assert (found.prediction, found.answer.choices, run.stats.endpoint.extra_choices) == ("first", 2, 1)
    assert "had more than one choice" in run.said[0]


def test_the_thought_of_a_reasoning_model_is_not_part_of_the_prediction(tmp_path):
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 70,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }
    body = answer("They greet.", message={"reasoning_content": "Hm."}, usage=usage)
    run, found = one_prediction(tmp_path, body)
    assert (found.prediction, found.thinking, found.new_tokens) == ("They greet.", "Hm.", 70)
    assert (run.stats.endpoint.cached_tokens, run.stats.endpoint.reasoning_tokens) == (8, 64)
    assert run.stats.thoughts == 1


PRICE = TokenPrice(input=1000.0, output=10_000.0)  # an answer of 20 and 5 tokens costs 0.07


def charged(run):
    """The tokens that the server may have charged for: of prompts, and generated."""
    return run.stats.endpoint.charged_prompt_tokens, run.stats.endpoint.charged_new_tokens


def test_max_cost_ends_the_run_before_it_is_exceeded_and_keeps_the_answers(tmp_path):
    run, generation = Run(tmp_path, SIX), Generation(max_new_tokens=8)
    with MisbehavingServer() as server:
        with pytest.raises(StageError, match=r"got 0\.280 USD spent of 0\.400 USD, .*; raise .*4 of 6 prompts"):
            run.predict(server, generation=generation, price=PRICE, max_cost=0.4)
        assert len(server.asked) == 4
        with pytest.raises(StageError, match=r"got 0\.280 USD spent of 0\.400 USD"):  # what was spent before counts
            run.predict(server, generation=generation, price=PRICE, max_cost=0.4)
        assert len(server.asked) == 4
        run.predict(server, generation=generation, price=PRICE, max_cost=5.0)
    assert sorted(server.asked) == SIX
    assert charged(run) == (6 * 20, 6 * 5)


def test_a_request_that_may_not_be_sent_again_is_not_announced_as_such(tmp_path):
    run = Run(tmp_path, ["one"])
    with MisbehavingServer(always(error(503, "overloaded"))) as server, pytest.raises(StageError, match="sent 1 time"):
        run.predict(server, max_retries=0)
    assert run.said == []


def test_what_a_server_may_have_charged_for_without_an_answer_counts_as_spent(tmp_path):
    run, generation = Run(tmp_path, ["one"]), Generation(max_new_tokens=8)
    with MisbehavingServer(once(Reply(answer("half"), share=0.5))) as server:
        run.predict(server, generation=generation, price=PRICE)
    prompt_tokens, new_tokens = charged(run)
    assert prompt_tokens > 20 + 9
    assert new_tokens == 5 + 8, "the most that the first request can have generated"


def test_a_ledger_that_a_kill_cut_short_counts_what_was_in_flight_as_spent(tmp_path):
    run = Run(tmp_path, ["one"])
    partial = tmp_path / "predictions.partial"
    partial.mkdir()
    sent = '{"request": 1, "prompt_tokens": 500, "new_tokens": 50}\n'
    (partial / LEDGER_FILE).write_text(sent + '{"request": 1, "ended": "answ')
    with MisbehavingServer() as server:
        run.predict(server, price=PRICE)
    assert charged(run) == (20 + 500, 5 + 50)
    assert (run.stats.endpoint.requests, run.stats.endpoint.unanswered) == (2, 1)
    assert run.stats.endpoint.retries == {"interrupted": 1}


def test_no_more_requests_are_in_flight_than_asked_for(tmp_path):
    with MisbehavingServer(lambda prompt, number: Reply(answer("x"), seconds=0.02)) as server:
        Run(tmp_path, [f"t{number}" for number in range(30)]).predict(server, concurrency=7)
    assert server.most_in_flight == 7
