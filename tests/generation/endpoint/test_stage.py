"""The predict stage against a server that behaves: what is sent, stored and counted."""

from endpoint_runs import Run
from misbehaving_server import MODEL, MisbehavingServer


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
