"""What the installed command refuses: with one message that says what to do, an exit code, and no files left."""

import errno
import os
import signal
import subprocess
import sys
import time

import in_process
import pytest
from installed_command import command_path

from summtune.base.files import write_json

MISSPELT = "a.yaml:2:1: unknown key 'base_modle', did you mean base_model?"


@pytest.fixture
def refused(summtune, project, everything_in):
    """Run a command that must fail, and return its message; nothing in the project may change."""

    def run(*arguments, code=2, **environment):
        before = everything_in(project)
        done = summtune(*arguments, cwd=project, **environment)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        assert done.stderr.count("error: ") == 1, done.stderr
        assert everything_in(project) == before
        return done.stderr.split("error: ", 1)[1].strip()

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"kind: prompt\nbase_modle: x\ntest_datasets: [{path: test.jsonl}]\n", MISSPELT),
        (
            b"kind: [prompt\n",
            "a.yaml:2:1: not YAML (expected ',' or ']', but got '<stream end>'); check the indentation",
        ),
        (b"", "a.yaml: the recipe is empty; `summtune init` writes one to start from"),
        (b"kind: \xff\n", "a.yaml:1: a recipe is UTF-8 text (got byte 0xff); save it as UTF-8"),
        (b"\x7fELF\x00\x01", "a.yaml: not YAML ("),
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused(refused, project, content, message):
    (project / "a.yaml").write_bytes(content)
    assert refused("run", "a.yaml").startswith(message)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.yaml", "no recipe at this path (got nowhere.yaml); `summtune recipes` lists the bundled ones"),
        ("model", "a recipe is a YAML file (got the folder model); give the file in it"),
    ],
)
def test_a_path_that_is_not_a_recipe_is_refused(refused, path, message):
    assert refused("run", path) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "sede=1"], "--set sede=1: unknown key 'sede', did you mean seed?"),
        (["--set", "seed"], "--set takes key=value (got 'seed'); for instance --set seed=7"),
        (["--set", "base_model=./nowhere"], "--set base_model=./nowhere: no model at this path (got ./nowhere, looked"),
    ],
)
def test_a_wrong_assignment_is_refused(refused, arguments, message):
    assert refused("run", "train.yaml", *arguments).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt"], "no such file or folder (got "),
        (["prompt.yaml", "--references", "test.jsonl"], "prompt.yaml has 3 lines, and "),
        (["test.jsonl"], "test.jsonl, line 1: no column prediction (got columns: id, dialogue, summary)"),
        (
            ["test.jsonl", "--prediction-field", "summary"],
            "test.jsonl contains no references (got columns: id, dialogue",
        ),
        (["train.yaml", "--set", "seed=1"], "--set evaluation.seed=1: unknown key 'seed' in evaluation"),
        (["train.yaml", "--output-dir", "model"], "the directory contains something that is not a summtune run"),
    ],
)
def test_outputs_that_cannot_be_scored_are_refused(refused, arguments, message):
    assert refused("evaluate", *arguments).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "train.yaml", "--frehs"], "No such option: --frehs"),
        (["run"], "Missing argument 'RECIPE'"),
        (["rnu", "train.yaml"], "No such command 'rnu'"),
    ],
)
def test_a_wrong_call_is_refused(summtune, project, everything_in, arguments, said):
    before = everything_in(project)
    done = summtune(*arguments, cwd=project)
    assert done.returncode == 2
    assert done.stderr.count(said) == 1
    assert "Traceback" not in done.stderr
    assert everything_in(project) == before


def test_a_hub_model_that_cannot_be_downloaded_is_refused(refused, project):
    cache = project / "cache"
    cache.mkdir()
    message = refused(
        "run", "prompt.yaml", "--set", "base_model=nobody/no-model", HF_HOME=str(cache), HF_HUB_CACHE=str(cache)
    )
    assert message == (
        f"model nobody/no-model: offline mode is on (HF_HUB_OFFLINE) and there is no copy in {cache}; run `hf download "
        "nobody/no-model` on a machine with network and set HF_HOME to its cache, or give a local folder as base_model"
    )


def test_hub_data_that_cannot_be_downloaded_is_refused(refused, project):
    cache = project.parent / f"{project.name}-cache"
    places = {"HF_HOME": str(cache), "HF_HUB_CACHE": str(cache / "hub"), "HF_DATASETS_CACHE": str(cache / "datasets")}
    message = refused("run", "prompt.yaml", "--set", "test_datasets.0.path=nobody/no-data", **places)
    assert message.startswith("data set nobody/no-data: offline mode is on (HF_HUB_OFFLINE) and there is no copy in ")
    assert str(cache / "hub") in message
    assert "hf download nobody/no-data --repo-type dataset" in message
    assert message.endswith("or give a local folder as path")


ROW = b'{"dialogue": "A: Hi.", "summary": "A greets."}\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROW + b'{"dialogue": "A: Bye.", "summary": ""}\n', ["test.jsonl", "line 2", "summary", "empty"]),
        (ROW + b'{"dialogue": "A: Bye."}\n', ["test.jsonl", "line 2", "summary"]),
        (
            ROW + b'{"dialogue": "A: caf\xe9", "summary": "Bye."}\n',
            ["test.jsonl", "line 2", "not UTF-8 (got byte 0xe9"],
        ),
        (b'{"text": "A: Hi.", "headline": "A greets."}\n', ["test.jsonl", "dialogue", "text", "headline"]),
        (ROW + b"not JSON\n", ["test.jsonl", "line 2", "not JSON"]),
        (b"", ["test.jsonl", "empty"]),
    ],
)
def test_an_unusable_row_is_refused_before_anything_is_started(refused, project, content, words):
    (project / "test.jsonl").write_bytes(content)
    message = refused("run", "train.yaml")
    assert all(word in message for word in words), message


def test_a_missing_column_is_refused_with_the_existing_ones(refused):
    message = refused("run", "prompt.yaml", "--set", "test_datasets.0.summary_field=sumary")
    assert "sumary" in message
    assert "dialogue" in message
    assert "did you mean summary?" in message


def test_a_model_without_safetensors_is_refused(refused, project):
    (project / "model" / "model.safetensors").unlink()
    (project / "model" / "pytorch_model.bin").write_bytes(b"x")
    assert f"the model has no safetensors (got {project / 'model'}), and " in refused("run", "prompt.yaml")


def test_a_directory_with_another_run_or_other_content_is_refused(refused, project):
    write_json(project / "taken" / "plan.json", {"identity": "f" * 64, "name": "other"})
    message = refused("run", "prompt.yaml", "--output-dir", "taken")
    assert message.startswith(
        f"the directory contains another run (got {project / 'taken'}: other-ffffffff, this one is "
    )
    (project / "thesis").mkdir()
    (project / "thesis" / "thesis.tex").write_text("x")
    for call in (["prompt.yaml"], ["both.yaml", "--fresh"]):
        message = refused("run", *call, "--output-dir", "thesis")
        assert message.startswith("the directory contains something that is not a summtune run")
    assert refused("run", "prompt.yaml", "--output-dir", "train.yaml").startswith(
        "a run directory is a folder (got the"
    )


def test_a_directory_in_use_by_another_command_is_refused(refused, project):
    program = (
        "import sys; from pathlib import Path; from summtune.runs.run_directory import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, project / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "in\n"
        message = refused("run", "prompt.yaml", "--output-dir", "run")
        assert message.startswith(f"another summtune command is using this directory (got {project / 'run'})")
        other.kill()


def test_a_read_only_folder_is_refused(refused, project):
    (project / "locked").mkdir(mode=0o555)
    if os.access(project / "locked", os.W_OK):
        pytest.skip("root may write everywhere")
    assert refused("run", "prompt.yaml", "--output-dir", "locked/run").startswith("Permission denied (got ")


def test_a_file_in_place_of_the_output_folder_is_refused(refused, project):
    message = refused("run", "prompt.yaml", "--output-dir", "train.yaml/run")
    assert message == f"Not a directory (got {project / 'train.yaml' / 'run'})"


def test_a_full_disk_is_reported_and_nothing_is_left_on_it(refused, project, write_rows):
    disk = project / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    try:
        write_rows(project / "test.jsonl", 2000)
        message = refused("run", "prompt.yaml", "--output-dir", "disk/runs/one", code=1)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert message.startswith("no space is left on the disk (got ")
    assert message.endswith("free some, and run the same command again: it resumes")


def test_the_error_of_a_full_disk_is_one_message(monkeypatch, project, capsys):
    from summtune.commands.main import main

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(
        sys, "argv", ["summtune", "run", str(project / "prompt.yaml"), "--output-dir", str(project / "x")]
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        with pytest.raises(SystemExit) as caught:
            main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert caught.value.code == 1
    assert f"error: no space is left on the disk (got {project / 'x'}" in capsys.readouterr().err
    assert not (project / "x").exists()


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped")]
)
def test_an_interrupt_while_reading_data_leaves_nothing(project, everything_in, write_rows, number, code, word):
    write_rows(project / "test.jsonl", 100_000)
    before = set(everything_in(project))
    with subprocess.Popen(
        [command_path(), "run", "prompt.yaml"], cwd=project, stderr=subprocess.PIPE, text=True
    ) as command:
        line = command.stderr.readline()
        assert line.split() == ["data", "reading", "and", "checking"]
        time.sleep(0.2)
        command.send_signal(number)
        said = command.stderr.read()
    assert (command.returncode, said) == (code, f"{word}; the same command resumes\n")
    assert set(everything_in(project)) == before


def test_the_problems_of_all_compared_recipes_are_reported_at_once(refused, project):
    for name, line in (("prompt.yaml", "sede: 1"), ("train.yaml", "lora_r: 8")):
        with (project / name).open("a") as file:
            file.write(line + "\n")
    lines = refused("run", "both.yaml").splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("prompt.yaml:4:1: unknown key 'sede', did you mean seed?")
    assert "train.yaml:7:1: lora_r has no effect without `adapter: lora`" in lines[1]


def test_a_comparison_whose_first_system_fails_leaves_nothing(refused, project):
    (project / "test.jsonl").write_text('{"dialogue": "A: Hi.", "summary": ""}\n')
    assert "test.jsonl" in refused("run", "both.yaml")
    assert "test.jsonl" in refused("run", "both.yaml", "--output-dir", "mine")


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "loop", "loop/x", "train.yaml/x"])
@pytest.mark.parametrize(
    "call",
    [
        ["run", "{}"],
        ["validate", "{}"],
        ["run", "prompt.yaml", "--output-dir", "{}"],
        ["evaluate", "{}"],
        ["evaluate", "test.jsonl", "--prediction-field", "summary", "--references", "{}"],
        ["compare", "{}", "{}"],
        ["report", "{}"],
        ["summarize", "{}", "train.yaml"],
        ["summarize", "model", "{}"],
        ["doctor", "{}", "--gpu-memory", "40"],
    ],
)
def test_a_path_that_the_operating_system_rejects_is_refused(project, everything_in, path, call):
    (project / "loop").symlink_to("loop")
    before = everything_in(project)
    done = in_process.call(*(argument.format(path) for argument in call))
    assert done.code == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert everything_in(project) == before


def test_a_failure_of_the_operating_system_has_exit_code_1(project, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error", "disk")

    monkeypatch.setattr("summtune.recipe.yaml_reader.read_yaml", fail)
    done = in_process.call("validate", "prompt.yaml")
    assert (done.code, done.stderr) == (1, "error: Input/output error (got disk)\n")


def test_an_unexpected_error_shows_its_traceback_with_control_characters_escaped(project, monkeypatch):
    def fail(*_):
        raise KeyError("\x1b[2J")

    monkeypatch.setattr("summtune.recipe.yaml_reader.read_yaml", fail)
    done = in_process.call("validate", "prompt.yaml")
    assert done.code == 1
    assert "KeyError: '\\x1b[2J'" in done.stderr
    assert "\x1b" not in done.stderr
