"""A device, a pipe or a socket in place of a file is refused at once, in every argument and key."""

import os
import re
import socket
from pathlib import Path

import pytest
from in_process import call, keeps_its_promise

from summtune.base.errors import InputError
from summtune.base.files import check_regular, read_bounded, read_json, read_jsonl, write_text
from summtune.deepspeed.configs import parse_ds_config
from summtune.machine.model_limits import facts_of
from summtune.plan.plan import read_plan

pytestmark = pytest.mark.timeout(60)  # opening a pipe would wait forever, and a device never ends


@pytest.fixture(params=["a device", "a pipe", "a socket"])
def odd(request, tmp_path):
    """Return a path that is not a regular file, and its type."""
    if request.param == "a device":
        return "/dev/zero", request.param
    path = tmp_path / "odd"
    if request.param == "a pipe":
        os.mkfifo(path)
        return str(path), request.param
    here = Path.cwd()
    os.chdir(tmp_path)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("odd")
    finally:
        os.chdir(here)
    return str(path), request.param


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "{}"],
        ["run", "{}", "--dry-run"],
        ["run", "both.yaml", "--dry-run", "--set", "recipes=[prompt.yaml, {}]"],
        ["run", "train.yaml", "--dry-run", "--set", "deepspeed={}"],
        ["run", "train.yaml", "--dry-run", "--set", "datasets.0.path={}"],
        ["run", "train.yaml", "--dry-run", "--set", "evaluation.metrics=[{}]"],
        ["run", "prompt.yaml", "--dry-run", "--set", "test_datasets.0.path={}"],
        ["doctor", "{}", "--gpu-memory=40"],
        ["evaluate", "{}"],
        ["evaluate", "train.jsonl", "--prediction-field=summary", "--references={}"],
        ["evaluate", "train.jsonl", "--prediction-field=summary", "--recipe={}"],
    ],
    ids=" ".join,
)
def test_a_path_to_an_irregular_file_is_refused_at_once(project, monkeypatch, odd, arguments):
    monkeypatch.chdir(project)
    path, kind = odd
    done = keeps_its_promise(call(*(argument.format(path) for argument in arguments)))
    assert done.code == 2
    assert done.stderr.count(path) >= 1
    assert kind.removeprefix("a ") in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom"])
def test_reading_dialogues_from_a_device_is_refused(path):
    done = keeps_its_promise(call("summarize", "builtin/flan-t5-nano", path))
    assert done.code == 2
    assert f"text is read from a file or a pipe (got {path}, a device); give a file" in done.stderr


@pytest.mark.parametrize("command", [["report"], ["compare", "run"]], ids=" ".join)
@pytest.mark.parametrize("name", ["plan.json", "metrics.json"])
def test_a_run_whose_file_is_a_pipe_is_refused_at_once(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    (tmp_path / "run" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "run" / name)
    assert keeps_its_promise(call(*command, "run")).code == 2


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "more.safetensors"])
def test_a_model_folder_with_a_pipe_is_refused_at_once(project, monkeypatch, name):
    monkeypatch.chdir(project)
    (project / "model" / name).unlink(missing_ok=True)
    os.mkfifo(project / "model" / name)
    done = keeps_its_promise(call("validate", "train.yaml"))
    assert done.code == 2
    assert (
        f"a model folder must contain only regular files (got {project / 'model' / name}, a pipe); remove it"
        in done.stderr
    )


def test_every_reader_refuses_irregular_files(odd):
    path, kind = odd
    told = re.escape(f"not a regular file (got {path}, {kind}); give a file")
    for read in (check_regular, read_json, lambda path: list(read_jsonl(path)), parse_ds_config):
        with pytest.raises(InputError, match=told):
            read(Path(path))


def test_a_plan_that_is_not_a_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(InputError, match=r"not a regular file \(got .*plan.json, a pipe\)"):
        read_plan(tmp_path)


def test_a_device_or_a_pipe_is_not_overwritten(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"not a regular file \(got .*a.png, a pipe\)"):
        write_text(tmp_path / "a.png", "x")
    assert (tmp_path / "a.png").is_fifo()


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_text("{}")
    (tmp_path / "b").symlink_to("a")
    assert read_json(tmp_path / "b") == {}


def test_small_files_are_read_up_to_their_size_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10)
    assert read_bounded(tmp_path / "a", 10) == b"x" * 10
    with pytest.raises(InputError, match=r"exceeds 9 bytes \(got 10 bytes in .*a\); is it the right file\?"):
        read_bounded(tmp_path / "a", 9)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
def test_an_oversized_file_of_a_model_is_refused(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**12)  # without a block on the disk
    with pytest.raises(InputError, match=rf"\(got 1,000,000,000,000 bytes in .*{name}\)"):
        facts_of(tmp_path)


def test_an_oversized_deepspeed_config_is_refused(tmp_path):
    with (tmp_path / "ds.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(InputError, match=r"exceeds 4,194,304 bytes \(got 1,000,000,000,000 bytes in .*ds.json\)"):
        parse_ds_config(tmp_path / "ds.json")
