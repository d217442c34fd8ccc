"""Control characters in recipes, files, file names and arguments never reach the terminal unescaped."""

import json
import os
import pty
import re
import subprocess

import pytest
import yaml
from in_process import call, keeps_its_promise
from installed_command import command_path

HOSTILE = "\x1b]0;forged\x07\x1b[2J\x1b[1A\x9b31m\r\x08\x7f\u202e"
OWN_STYLES = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[0-9]*[AK]|\r|\x1b\[2K")
"""What rich writes: colours, the cursor hidden, and a bar drawn again in its place."""


@pytest.fixture
def on_a_terminal():
    """Run the command on a new terminal; return its exit code and every byte that the terminal received."""

    def run(*arguments, cwd):
        outer, inner = pty.openpty()
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TERM": "xterm", "COLUMNS": "100"}
        process = subprocess.Popen(
            [command_path(), *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=inner, stderr=inner
        )
        os.close(inner)
        arrived = b""
        try:
            while piece := os.read(outer, 1 << 16):
                arrived += piece
        except OSError:  # the other end is closed
            pass
        os.close(outer)
        return process.wait(60), arrived.replace(b"\r\n", b"\n")

    return run


def drives_nothing(arrived):
    foreign = OWN_STYLES.sub(b"", arrived).decode("utf-8")
    return not set(foreign) & set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x202E]))


def write_recipe(folder, **values):
    path = folder / f"a{HOSTILE}.yaml"
    recipe = yaml.safe_load((folder / "prompt.yaml").read_text()) | values
    path.write_text(yaml.safe_dump(recipe))
    return path.name


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"base_model": f"./{HOSTILE}"},
        {"prompt_template": HOSTILE},
        {HOSTILE: 1},
        {"kind": HOSTILE},
        {"test_datasets": [{"path": HOSTILE, "split": HOSTILE}]},
        {"wandb_name": HOSTILE},
    ],
)
def test_control_characters_in_a_recipe_are_escaped(project, on_a_terminal, values):
    name = write_recipe(project, **values)
    for arguments in (["validate", name], ["run", name, "--dry-run"]):
        code, arrived = on_a_terminal(*arguments, cwd=project)
        assert code == (2 if values else 0)
        assert "␛]0;forged" in arrived.decode()
        assert drives_nothing(arrived)


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["run", HOSTILE],
        ["run", "prompt.yaml", "--set", HOSTILE],
        ["run", "prompt.yaml", "--dry-run", "--output-dir", HOSTILE],
        ["validate", HOSTILE, "prompt.yaml"],
        ["evaluate", HOSTILE],
        ["evaluate", "test.jsonl", "--prediction-field", "summary", "--references", HOSTILE],
        ["evaluate", "test.jsonl", "--prediction-field", HOSTILE],
        ["compare", HOSTILE, HOSTILE],
        ["report", HOSTILE],
        ["summarize", HOSTILE, "prompt.yaml"],
        ["summarize", "model", HOSTILE],
        ["doctor", "--gpu-memory", HOSTILE],
        ["doctor", HOSTILE, "--gpu-memory", "40"],
        ["init", HOSTILE],
        ["--debug", "run", HOSTILE],
    ],
)
def test_control_characters_in_an_argument_are_escaped(project, on_a_terminal, arguments):
    _, arrived = on_a_terminal(*arguments, cwd=project)
    assert arrived
    assert drives_nothing(arrived)


def test_control_characters_in_data_and_system_names_are_escaped(project, on_a_terminal):
    row = {"id": f"1{HOSTILE}", "dialogue": f"A: {HOSTILE}", "prediction": f"B {HOSTILE}", "summary": f"C {HOSTILE}"}
    (project / "a.jsonl").write_text(json.dumps(row) + "\n")
    name = f"[red]x[/red]:smile:{HOSTILE}"
    for out in ("one", "two"):
        code, arrived = on_a_terminal("evaluate", "a.jsonl", "--name", name + out, "--output-dir", out, cwd=project)
        assert (code, drives_nothing(arrived)) == (0, True)
        assert "[red]x[/red]:smile:" in OWN_STYLES.sub(b"", arrived).decode().replace("\n", "")
    for arguments in (["compare", "one", "two"], ["compare", "one", "two", "--json"], ["report", "one"]):
        code, arrived = on_a_terminal(*arguments, cwd=project)
        assert (code, drives_nothing(arrived)) == (0, True)
    (project / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    code, arrived = on_a_terminal("evaluate", "a.jsonl", cwd=project)
    assert (code, drives_nothing(arrived)) == (2, True)


def test_report_and_model_card_contain_no_control_characters(project, monkeypatch):
    row = {"id": HOSTILE, "dialogue": HOSTILE, "prediction": HOSTILE, "summary": HOSTILE}
    (project / "a.jsonl").write_text(json.dumps(row) + "\n")
    keeps_its_promise(call("evaluate", "a.jsonl", "--name", HOSTILE, "--output-dir", "one"))
    for report in ("report.md", "report.html"):
        assert drives_nothing((project / "one" / report).read_bytes())


def test_a_line_break_in_a_value_cannot_fake_a_line_of_output(project):
    (project / "a.yaml").write_text(
        'kind: prompt\nbase_model: "./x\\nb.yaml: valid"\ntest_datasets: [{path: "y\\nz"}]\n'
    )
    lines = call("validate", "a.yaml").stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("a.yaml:") for line in lines)


def test_messages_are_printed_on_a_terminal_of_another_encoding(summtune, project):
    encoding = "ascii"
    done = summtune("run", "prompt.yaml", "--dry-run", "--output-dir", "Łódź→", cwd=project, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    done = summtune("validate", "Łódź→.yaml", cwd=project, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "no recipe at this path (got " in done.stderr


def test_a_file_name_that_is_not_utf_8_is_refused(summtune, project):
    for arguments in (
        ["validate", b"\xff.yaml"],
        ["evaluate", b"\xff"],
        ["run", "prompt.yaml", "--output-dir", b"\xff"],
    ):
        command = [command_path(), *arguments]
        done = subprocess.run(command, cwd=project, capture_output=True, check=False, timeout=60)
        assert done.returncode == 2
        assert done.stderr.decode().startswith("error: an argument is not valid UTF-8 (got ")
