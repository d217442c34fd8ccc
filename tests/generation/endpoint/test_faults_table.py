"""The table of docs/endpoints.md: what a server does wrong, what happens, and what is asked and paid for."""

from pathlib import Path

import pytest
from endpoint_runs import KEY, Run
from misbehaving_server import MisbehavingServer, Reply, always, answer, error, once, well

from summtune.base.errors import StageError
from summtune.generation.partial import read_outputs

PAGE = Path(__file__).parents[3] / "docs" / "endpoints.md"
SIX = [f"t{number}" for number in range(6)]
TWO_CHOICES = answer("first") | {"choices": answer("first")["choices"] + answer("second")["choices"]}

# By what the server does: how, and the timeout of a request.
ENDS = ("401", "404", "429, no credit", "503 for ever")
FAULTS = {
    "nothing": (well, 30),
    "429, `Retry-After: 0.2`": (once(error(429, "slow down", headers={"retry-after": "0.2"})), 30),
    "429 without `Retry-After`": (once(error(429, "slow down")), 30),
    "500": (once(error(500, "oh")), 30),
    "half a body": (once(Reply(answer("half"), share=0.5)), 30),
    "garbage instead of JSON": (once(Reply(b"{garbage")), 30),
    "a dropped connection": (once(Reply(None, 0)), 30),
    "an answer after the timeout": (once(Reply(answer("late"), seconds=20)), 1),
    "500 that echoes the key": (once(error(500, f"key {KEY}")), 30),
    "no usage": (always(lambda prompt: Reply(answer(prompt, usage=None))), 30),
    "another model answers": (always(lambda prompt: Reply(answer(prompt, model="other"))), 30),
    "two choices": (always(Reply(TWO_CHOICES)), 30),
    "a refusal": (always(Reply(answer(None, message={"refusal": "I cannot."}))), 30),
    "a content filter (400)": (always(error(400, "filtered", "content_filter")), 30),
    "an empty answer": (always(Reply(answer(""))), 30),
    "401": (always(error(401, "bad key")), 30),
    "404": (always(error(404, "no such model")), 30),
    "429, no credit": (always(error(429, "no credit", "insufficient_quota")), 30),
    "503 for ever": (always(error(503, "overloaded")), 30),
}


def row(folder, name):
    """One row: the six prompts of a run under one fault."""
    behave, timeout = FAULTS[name]
    run = Run(folder, SIX)
    with MisbehavingServer(behave) as server:
        try:
            concurrency = 1 if name in ENDS else 6
            run.predict(server, key=KEY, api_key_env="MY_KEY", concurrency=concurrency, timeout=timeout)
        except StageError as failure:
            happened, answered = f"ends: {str(failure).partition(' (got')[0]}", kept(folder)
        else:
            stats = run.stats.endpoint
            retries = [f"sent again after: {cause}" for cause in stats.retries]
            warned = [text.removeprefix("test: ").partition(",")[0].partition(";")[0] for text in run.said]
            happened, answered = "; ".join(retries or warned) or "answered", len(run.predictions)
    return f"| {name} | {happened} | {len(server.asked)} | {sum(server.paid.values())} | {answered} |"


def kept(folder):
    return len(read_outputs(folder / "predictions.partial"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_row_of_the_table_is_what_happens(tmp_path, name):
    assert row(tmp_path, name) in PAGE.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":  # prints the table
    import tempfile

    for each in FAULTS:
        with tempfile.TemporaryDirectory() as temporary:
            print(row(Path(temporary), each))
