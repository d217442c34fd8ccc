"""The server of a run: it answers, nobody else may ask it, and it ends however the process that needs it ends."""

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from stand_in_vllm import VERSION, write_stand_in

from summtune.base.errors import StageError
from summtune.generation.vllm.command import Served
from summtune.generation.vllm.server import Server, serving


@pytest.fixture
def serve(tmp_path):
    """Return a function that serves a model which the stand-in does not read."""

    def start(mode, said=None, **seconds):
        executable = write_stand_in(tmp_path / "vllm", mode)
        served = Served(str(tmp_path / "model"), None)

        def command(port):
            options = ["--host", "127.0.0.1", "--port", port, "--load-format", "safetensors"]
            options += ["--generation-config", "vllm", "--served-model-name", served.name]
            return [str(executable), "serve", served.model, *options]

        say = (lambda _: None) if said is None else said.append
        return serving(command, served, tmp_path / "vllm.log", say, **seconds)

    return start


def descendants(pid):
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def all_gone(processes, seconds=20):
    _, alive = psutil.wait_procs([one for one in processes if one.is_running()], timeout=seconds)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_server_answers_those_who_have_the_key_and_ends_with_the_block(serve, tmp_path):
    with serve("canned") as server:
        running = descendants(server.keeper.pid)
        assert len(running) > 1
        assert server.version() == VERSION
        assert server.get("/v1/models")["data"] == [{"id": "base", "root": str(tmp_path / "model")}]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 401
        connection.close()
    assert all_gone(running, 0)
    assert server.keeper.returncode == 0
    assert server.key not in (tmp_path / "vllm.log").read_text()


def test_a_proxy_of_the_environment_is_not_asked_for_the_server(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serve("canned") as server:
        assert server.get("/health") == ""


def test_two_servers_have_keys_and_ports_of_their_own(serve):
    with serve("canned") as one, serve("canned") as other:
        assert one.key != other.key
        assert one.port != other.port


def test_a_server_that_ends_before_it_answers_is_reported_with_its_cause(serve, tmp_path):
    (tmp_path / "vllm.log").write_text("KeyError: of an earlier attempt\n")
    with pytest.raises(StageError, match="vLLM's server ended before it answered") as told, serve("exits"):
        pass
    assert "got exit code 1: ValueError: No available memory for the cache blocks." in str(told.value)
    assert str(tmp_path / "vllm.log") in str(told.value)
    assert "KeyError" not in str(told.value)


def test_a_server_that_never_answers_is_given_up_and_ended(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("summtune.generation.vllm.server._REPORT_SECONDS", 0.0)
    said = []
    with (
        pytest.raises(StageError, match=r"does not answer \(got nothing within 1.0 s\)"),
        serve("hangs", said, start_seconds=1.0),
    ):
        pass
    assert "vLLM is starting" in said[0]
    assert not [one for one in psutil.process_iter() if str(tmp_path / "model") in _command(one)]


def test_another_server_at_the_port_gets_no_prompt(serve, tmp_path):
    match = r"another server than the run's answers \(got models \{'base': '/another'\}"
    with pytest.raises(StageError, match=match), serve("foreign"):
        pass


def test_a_server_that_ignores_sigterm_is_killed_with_its_children(serve):
    with serve("stubborn", end_seconds=1.0) as server:
        running = descendants(server.keeper.pid)
        assert len(running) == 3, "the keeper, the server and its engine"
    assert all_gone(running, 0)


def test_the_end_of_a_server_that_runs_is_noticed(serve):
    with serve("canned") as server:
        assert not server.has_ended()
        psutil.Process(server.keeper.pid).children()[0].kill()
        assert server.has_ended(10)
        assert f"got exit code {128 + signal.SIGKILL}" in str(server.failure("while it generated"))


@pytest.mark.parametrize(
    ("number", "whom"),
    [
        (signal.SIGKILL, "the process"),
        *(
            pytest.param(number, whom, marks=pytest.mark.slow)
            for number, whom in (
                (signal.SIGTERM, "the process"),
                (signal.SIGKILL, "its group"),
                (signal.SIGTERM, "its group"),
            )
        ),
    ],
)
def test_a_server_ends_when_the_process_that_needs_it_is_killed(tmp_path, number, whom):
    """The engine would keep the memory of a GPU: its parent is gone by then, and it ignores SIGTERM."""
    executable = write_stand_in(tmp_path / "vllm", "stubborn")
    helpers = str(Path(__file__).parents[2] / "helpers")
    code = (
        "import sys; from pathlib import Path; from summtune.generation.vllm.command import Served\n"
        "from summtune.generation.vllm.server import serving\n"
        "fixed = ['--host', '127.0.0.1', '--load-format', 'safetensors', '--generation-config', 'vllm']\n"
        "fixed += ['--served-model-name', 'base']\n"
        "command = lambda port: [sys.argv[1], 'serve', '/model', '--port', port, *fixed]\n"
        "with serving(command, Served('/model', None), Path(sys.argv[2]), print, end_seconds=1.0):\n"
        "    print('ready', flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, executable, tmp_path / "vllm.log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": helpers},
        start_new_session=True,
    )
    with worker:
        assert worker.stdout.readline() == b"ready\n"
        running = descendants(worker.pid)
        assert len(running) == 4, "the worker, the keeper, the server and its engine"
        os.kill(worker.pid, number) if whom == "the process" else os.killpg(worker.pid, number)
        worker.stdin.close()
        worker.wait(10)
    began = time.monotonic()
    if whom == "its group":  # a launcher that gives up kills what is left, as `summtune.launchers.local` does
        os.killpg(worker.pid, signal.SIGKILL) if any(map(_runs, running)) else None
    assert all_gone(running)
    assert time.monotonic() - began < 20


def _runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_root_cause_in_the_log_is_shown_once(tmp_path):
    log = tmp_path / "vllm.log"
    prefix = "(Worker pid=9) ERROR 11-28 19:16:22 [multiproc_executor.py:1063]"
    log.write_text(
        "(APIServer pid=1) WARNING can cause `OSError: [Errno 24] Too many open files`\n"
        f"{prefix}     raise RuntimeError(\n{prefix} RuntimeError: no kernel for head_dim=8\n"
        "(EngineCore pid=5) ERROR 11-28 RuntimeError: no kernel for head_dim=8\n"
        f"vllm.v1.EngineDeadError: EngineCore encountered an issue. {'x' * 400}\nINFO shutting down\n"
    )
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended.wait()
    said = str(Server(1, "key", log, 0, ended).failure("while it generated"))
    start = "vLLM's server ended while it generated (got exit code 3: RuntimeError: no kernel for head_dim=8; "
    assert said.startswith(start + "vllm.v1.EngineDeadError: EngineCore encountered an issue. xxx")
    assert "OSError" not in said
    assert len(said) < 600
