"""A model behind an API goes the whole way of a recipe: run, resume, reuse, compare, summarize, inspect."""

import json

import pytest
from in_process import call
from misbehaving_server import MODEL, MisbehavingServer, Reply, answer, error, well

from summtune.base.files import read_json, read_jsonl

KEY = "sk-test-0123456789abcdefGHIJKL"
PRICE = "endpoint.price={input: 1000, output: 10000}"


@pytest.fixture
def server():
    with MisbehavingServer() as started:
        yield started


@pytest.fixture
def asked(project, server, monkeypatch):
    """Return a function that runs a command on the recipe ``endpoint.yaml``, in the project's folder."""
    monkeypatch.chdir(project)
    (project / "endpoint.yaml").write_text(
        f"kind: prompt\nendpoint: {{url: '{server.url}', model: {MODEL}}}\ntest_datasets: [{{path: test.jsonl}}]\n"
    )

    def run(*words, command="run", sets=()):
        return call(command, *words, "endpoint.yaml", *(part for each in sets for part in ("--set", each)))

    return run


def run_dirs(project):
    return sorted((project / "outputs").glob("endpoint-*"))


def test_a_run_writes_what_every_run_writes(asked, server, project):
    done = asked(sets=[PRICE, "system_prompt=Be brief."])
    assert done.code == 0, done.stderr
    (run_dir,) = run_dirs(project)
    predictions = list(read_jsonl(run_dir / "predictions.jsonl"))
    dialogues = list(read_jsonl(project / "test.jsonl"))
    assert len(predictions) == len(dialogues) == len(server.asked)
    assert all(each["prediction"].startswith("answer to ") for each in predictions)
    assert {each["answer"]["model"] for each in predictions} == {MODEL}
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]
    assert server.bodies[0]["temperature"] == 0
    count = len(server.asked)
    cost = read_json(run_dir / "cost.json")
    # The server counts 20 tokens of each prompt and 5 of each answer; prices are for a million.
    assert cost["generation_money"] == pytest.approx(count * (20 * 1000 + 5 * 10_000) / 1e6)
    assert (cost["prompt_tokens"], cost["generated_tokens"], cost["training_money"]) == (20 * count, 5 * count, 0)
    assert cost["size_bytes"] is cost["generation_device_hours"] is None
    report = (run_dir / "report.md").read_text()
    assert server.url in report
    assert f"{MODEL}, prompted" in report


def test_a_complete_run_asks_nothing_and_another_metric_neither(asked, server, project, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    keyed = ["endpoint.api_key_env=THE_KEY"]
    assert asked(sets=keyed).code == 0
    server.forget()
    monkeypatch.delenv("THE_KEY")  # nobody needs it any more
    assert asked(sets=keyed).code == 0
    assert asked("--fresh", sets=keyed).code == 2
    done = asked(sets=[*keyed, "evaluation.use_stemmer=false"])
    assert done.code == 0
    assert "reused from" in done.stderr
    assert server.asked == []


def test_a_failed_run_resumes_with_what_is_missing(asked, server, project):
    def second_half_fails(prompt, number):
        return error(401, "no") if len(server.asked) > 2 else well(prompt, number)

    server.behave = second_half_fails
    done = asked(sets=["endpoint.concurrency=1"])
    assert done.code == 1
    assert "Traceback" not in done.stderr
    answered = server.asked[:2]
    server.behave = well
    server.forget()
    assert asked(sets=["endpoint.concurrency=1"]).code == 0
    assert not set(answered) & set(server.asked)
    (run_dir,) = run_dirs(project)
    assert len(list(read_jsonl(run_dir / "predictions.jsonl"))) == len(list(read_jsonl(project / "test.jsonl")))


def test_the_key_is_in_no_file_and_no_output(asked, server, project, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    server.behave = lambda prompt, number: Reply(answer(f"your key is {KEY}"))
    done = asked(sets=["endpoint.api_key_env=THE_KEY"])
    assert done.code == 0, done.stderr
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    texts = [path.read_bytes() for path in project.rglob("*") if path.is_file()]
    assert all(KEY.encode() not in text for text in texts)
    assert any(b"THE_KEY" in text for text in texts)
    assert KEY not in done.stdout + done.stderr


def test_a_missing_key_ends_a_comparison_before_it_begins(asked, project, monkeypatch):
    monkeypatch.delenv("THE_KEY", raising=False)
    (project / "pair.yaml").write_text("kind: compare\nrecipes: [prompt.yaml, endpoint.yaml]\n")
    text = (project / "endpoint.yaml").read_text()
    (project / "endpoint.yaml").write_text(text.replace("model:", "api_key_env: THE_KEY, model:"))
    done = call("run", "pair.yaml")
    assert done.code == 2
    assert "got no value of the environment variable THE_KEY" in done.stderr
    assert not (project / "outputs").exists()


def test_a_finished_run_summarizes_new_dialogues(asked, server, project):
    assert asked().code == 0
    (run_dir,) = run_dirs(project)
    (project / "new.txt").write_text("Ann: hi\nBob: hello")
    server.behave = lambda prompt, number: Reply(answer("They greet."))
    done = call("summarize", run_dir, "new.txt")
    assert (done.code, done.stdout) == (0, "They greet.\n")
    assert "Ann: hi" in server.asked[-1]


def test_exemplars_are_earlier_turns(asked, server, project):
    sets = ["shots=2", "datasets=[{path: train.jsonl}]", "exemplars.choose=first"]
    assert asked(sets=sets).code == 0
    roles = [message["role"] for message in server.bodies[0]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    (run_dir,) = run_dirs(project)
    assert len(read_json(run_dir / "prediction_stats.json")["exemplars"]) == 2


def test_inspect_shows_the_messages(asked, server):
    done = asked("--json", "--examples", "1", command="inspect")
    found = json.loads(done.stdout)
    assert (found["model"], found["url"], len(found["shown"])) == (MODEL, server.url, 1)
    assert [message["role"] for message in found["shown"][0]["messages"]] == ["user"]
    shown = asked("--examples", "1", command="inspect").stdout
    assert found["shown"][0]["messages"][0]["content"].splitlines()[0] in shown
    assert server.asked == []


def test_a_dry_run_estimates_tokens_and_money(asked, server, project):
    text = asked("--dry-run", sets=[PRICE, "endpoint.max_cost=3"]).stdout
    assert "at most" in text
    assert "3.00 USD in all" in text
    assert "endpoint.price" in asked("--dry-run").stdout
    assert server.asked == []
    assert not (project / "outputs").exists()


def test_a_smoke_run_asks_five_dialogues_and_leaves_nothing(asked, server, project):
    done = asked("--smoke")
    assert done.code == 0, done.stderr
    assert len(server.asked) == min(5, len(list(read_jsonl(project / "test.jsonl"))))
    assert "the server has the model" in done.stderr
    assert not (project / "outputs").exists()
