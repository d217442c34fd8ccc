"""The generator: signals, kills, memory, and where it runs."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from endpoint_runs import KEY, Run, endpoint, messages
from misbehaving_server import MisbehavingServer, Reply, answer, error, once, well

from summtune.base.errors import InputError, StageError, StopAsked
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.endpoint.generator import EndpointGenerator
from summtune.generation.endpoint.requests import ChatRequests, TokenRequests
from summtune.generation.partial import read_outputs
from summtune.generation.resuming import generate_missing
from summtune.recipe.sections import Generation

PROCESS = Path(__file__).parents[2] / "helpers" / "endpoint_process.py"


def generator(server, **changes):
    return EndpointGenerator(endpoint(server, **changes), Generation(), ChatRequests(), 42, backoff=0.01)


def slowly(seconds):
    return lambda prompt, number: Reply(answer(f"answer to {prompt}"), seconds=seconds)


def wait_until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def kept(tmp_path):
    return {
        output.text.removeprefix("answer to ") for output in read_outputs(tmp_path / "predictions.partial").values()
    }


def test_after_a_kill_no_prompt_that_was_answered_and_kept_is_asked_again(tmp_path):
    with MisbehavingServer(slowly(0.02)) as server:
        environment = os.environ | {"PYTHONPATH": f"{PROCESS.parent}{os.pathsep}{Path.cwd()}"}
        with subprocess.Popen([sys.executable, PROCESS, tmp_path, server.url, "200"], env=environment) as process:
            try:
                wait_until(lambda: len(server.asked) > 40)
            finally:
                process.kill()
        server.forget()
        before = kept(tmp_path)
        assert 20 < len(before) < 200
        run = Run(tmp_path, [f"t{number}" for number in range(200)]).predict(server)
    assert sorted(server.asked) == sorted({f"t{number}" for number in range(200)} - before)
    assert run.stats.endpoint.unanswered <= 4  # those in flight at the kill
    assert run.stats.endpoint.requests <= 200 + 3 * 4  # and those whose answers were on their way to the disk


@contextlib.contextmanager
def handled(number, handler):
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def stop_asked(number, _):
    raise StopAsked(number)


def ask_for(tmp_path, server, said, count=50):
    asked = DistinctPrompts.of(messages(f"t{number}") for number in range(count))
    one = EndpointGenerator(endpoint(server), Generation(), ChatRequests(), 42, say=said.append)
    generate_missing(one, asked, tmp_path / "predictions.partial", lambda *_: None)


def signal_later(server, number, times=1):
    """Send this process a signal as soon as four requests are in flight, and again."""

    def send():
        wait_until(lambda: len(server.asked) == 4)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    threading.Thread(target=send).start()


@pytest.mark.parametrize(
    ("number", "handler", "raised"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
        (signal.SIGTERM, stop_asked, StopAsked),
        (signal.SIGUSR1, stop_asked, StopAsked),
        (signal.SIGHUP, stop_asked, StopAsked),
    ],
)
def test_an_interrupted_run_keeps_the_answers_to_requests_in_flight(tmp_path, number, handler, raised):
    said = []
    with MisbehavingServer(slowly(0.5)) as server, handled(number, handler):
        signal_later(server, number)
        with pytest.raises(raised):
            ask_for(tmp_path, server, said)
        assert signal.getsignal(number) is handler
    assert len(said) == 1
    assert said[0].startswith("waiting up to 30 s for the answers to 4 requests in flight")
    assert len(server.asked) == 4
    assert kept(tmp_path) == set(server.asked)


def test_a_second_interrupt_ends_the_run_at_once(tmp_path):
    began = time.monotonic()
    with MisbehavingServer(slowly(25)) as server, handled(signal.SIGINT, signal.default_int_handler):
        signal_later(server, signal.SIGINT, times=2)
        with pytest.raises(KeyboardInterrupt):
            ask_for(tmp_path, server, [])
    assert time.monotonic() - began < 20
    assert kept(tmp_path) == set()


def test_a_signal_that_is_ignored_does_not_end_the_run(tmp_path):
    said = []
    with MisbehavingServer(slowly(0.3)) as server, handled(signal.SIGHUP, signal.SIG_IGN):
        signal_later(server, signal.SIGHUP)
        ask_for(tmp_path, server, said, count=8)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert (len(server.asked), said) == (8, [])


def test_answers_are_kept_where_the_terminal_is_gone(tmp_path):
    def gone(*_):
        raise OSError(5, "Input/output error")

    asked = DistinctPrompts.of(messages(text) for text in ("one", "two"))
    with MisbehavingServer(once(error(500, "oh"))) as server:
        one = EndpointGenerator(endpoint(server), Generation(), ChatRequests(), 42, say=gone, backoff=0.01)
        generate_missing(one, asked, tmp_path / "predictions.partial", lambda *_: None)
    assert kept(tmp_path) == {"one", "two"}


def test_an_unexpected_error_with_one_prompt_ends_the_sending_and_answers_in_flight_are_kept(tmp_path):
    class Broken(ChatRequests):
        def fields(self, prompt):
            if prompt == messages("t2"):
                raise ZeroDivisionError("a bug")
            return super().fields(prompt)

    asked = DistinctPrompts.of(messages(f"t{number}") for number in range(50))
    with MisbehavingServer(slowly(0.3)) as server:
        one = EndpointGenerator(endpoint(server), Generation(), Broken(), 42)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            generate_missing(one, asked, tmp_path / "predictions.partial", lambda *_: None)
    assert len(server.asked) <= 3
    assert kept(tmp_path) == set(server.asked)


def test_answers_in_flight_when_another_prompt_fails_are_kept(tmp_path):
    def behave(prompt, number):
        return error(401, "expired") if prompt == "t2" else Reply(answer(f"answer to {prompt}"), seconds=0.3)

    asked = DistinctPrompts.of(messages(f"t{number}") for number in range(9))
    with (
        MisbehavingServer(behave) as server,
        pytest.raises(StageError, match=r"expired.*3 of 9 prompts are answered and kept"),
    ):
        generate_missing(generator(server), asked, tmp_path / "predictions.partial", lambda *_: None)
    assert kept(tmp_path) == {"t0", "t1", "t3"}


def test_a_reader_that_fails_ends_the_requests_and_the_thread():
    with MisbehavingServer(slowly(0.01)) as server:
        outputs = generator(server).generate([messages(f"t{number}") for number in range(500)])
        next(outputs)
        outputs.close()
        sent = len(server.asked)
        time.sleep(0.1)
        assert len(server.asked) == sent < 100
    assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


def test_it_generates_where_an_event_loop_is_running_as_in_a_notebook():
    async def cell(server):
        return dict(generator(server).generate([messages("one")]))

    with MisbehavingServer() as server:
        assert asyncio.run(cell(server))[0].text == "answer to one"


def test_it_generates_in_a_thread_that_gets_no_signals():
    found = []
    with MisbehavingServer() as server:
        thread = threading.Thread(target=lambda: found.extend(generator(server).generate([messages("one")])))
        thread.start()
        thread.join(60)
    assert [output.text for _, output in found] == ["answer to one"]


def test_token_ids_are_sent_as_they_are_and_their_continuation_is_read():
    body = {"model": "tiny-chat", "choices": [{"text": " They greet.", "finish_reason": "length"}]}
    with MisbehavingServer(lambda *_: Reply(body)) as server:
        requests = TokenRequests(lambda ids: ids[-1] == 9)
        one = EndpointGenerator(endpoint(server), Generation(max_new_tokens=7), requests, 42, stops=["\n"])
        (_, plain), (_, opened) = sorted(one.generate([[5, 6], [5, 9]]))
    assert server.bodies[0] == {
        "prompt": [5, 6], "model": "tiny-chat", "max_tokens": 7, "temperature": 0, "stop": ["\n"],
    }  # fmt: skip
    assert (plain.text, plain.hit_length_cap) == ("They greet.", True)
    assert (opened.text, opened.thinking) == ("", "They greet.")


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"got no openai\); run pip install 'summtune\[endpoint\]'"):
        next(generator("http://127.0.0.1:9/v1").generate([messages("one")]))


def _peak_of(server, count):
    """The most memory that answers to so many prompts needed at once, in bytes, without the prompts."""
    prompts = [messages(f"t{number}") for number in range(count)]
    tracemalloc.start()
    try:
        answered = sum(1 for _ in generator(server, concurrency=64).generate(prompts))
        return answered, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_prompts():
    """The server shares the process, so what it logs is left out by forgetting it."""

    class Forgetful(MisbehavingServer):
        async def _one(self, reader, writer):
            try:
                return await super()._one(reader, writer)
            finally:
                self.forget()
                self._seen.clear()

    with Forgetful(well) as server:
        _peak_of(server, 200)  # what is made once
        few, many = _peak_of(server, 500), _peak_of(server, 4000)
    assert (few[0], many[0]) == (500, 4000)
    assert many[1] < 1.2 * few[1]


@pytest.mark.slow
def test_ten_thousand_prompts_are_each_answered_once_at_a_concurrency_of_64(tmp_path):
    def behave(prompt, number):  # a fifth misbehaves at first, answers come in any order
        if hash(prompt) % 5 == 0 and number == 1:
            return [error(429, "slow"), error(500, "oh"), Reply(b"{"), Reply(None, 0)][hash(prompt) // 5 % 4]
        return Reply(answer(f"answer to {prompt}"), seconds=hash(prompt) % 7 / 1000)

    texts = [f"t{number}" for number in range(10_000)]
    with MisbehavingServer(behave) as server:
        run = Run(tmp_path, texts).predict(server, key=KEY, concurrency=64)
    assert [one.prediction for one in run.predictions] == [f"answer to {text}" for text in texts]
    assert server.most_in_flight <= 64
    assert run.stats.endpoint.requests == len(server.asked) == 10_000 + sum(run.stats.endpoint.retries.values())
