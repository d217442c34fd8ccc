"""The installed command in a separate process: what its subcommands print, and that it starts quickly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from summtune.base.places import package_path

HEAVY = {
    "torch", "transformers", "datasets", "peft", "accelerate", "deepspeed", "evaluate", "matplotlib", "scipy", "numpy",
    "huggingface_hub", "pyarrow",
}  # fmt: skip


def test_validate_reports_every_file_and_writes_nothing(summtune, project, everything_in):
    (project / "a.yaml").write_text("kind: prompt\nseed: x\nsede: 1\n")
    (project / "b.yaml").write_text("")
    before = everything_in(project)
    done = summtune("validate", "train.yaml", "a.yaml", "b.yaml", "nowhere.yaml", "both.yaml", cwd=project)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines.pop(6).startswith("no recipe at this path (got nowhere.yaml)")
    places = [line.split(": ")[0] for line in lines]
    assert places == ["train.yaml", "a.yaml:1:1", "a.yaml:1:1", "a.yaml:2:1", "a.yaml:3:1", "b.yaml", "both.yaml"]
    assert everything_in(project) == before


def test_validate_reports_valid_recipes(summtune, project):
    done = summtune("validate", "train.yaml", "both.yaml", cwd=project)
    assert (done.returncode, done.stderr) == (0, "train.yaml: valid\nboth.yaml: valid\n")


def test_a_dry_run_prints_the_plan_and_writes_nothing(summtune, project, everything_in):
    before = everything_in(project)
    done = summtune("run", "both.yaml", "--dry-run", "--output-dir", "out", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert "systems  prompt, train" in done.stdout
    assert "global batch 8 = 8 micro × 1 accumulation × 1 process; 12 pairs" in done.stdout
    assert done.stdout.count("start.py summtune.work.process.launch --config_file") == 2
    assert everything_in(project) == before


def test_a_dry_run_reports_displaced_keys_on_stderr(summtune, project):
    (project / "train.yaml").write_text((project / "train.yaml").read_text() + "num_epochs: 2\n")
    done = summtune("run", "train.yaml", "--dry-run", "--set", "max_steps=5", cwd=project)
    assert done.stderr == "--set max_steps=5 displaces num_epochs of train.yaml:7\n"
    assert "optimizer steps" in done.stdout


def test_debug_shows_the_traceback(summtune, project):
    done = summtune("--debug", "run", "nowhere.yaml", cwd=project)
    assert "Traceback" in done.stderr
    assert "InputError: no recipe at this path (got nowhere.yaml)" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["validate", str(package_path("recipes/lora.yaml"))], ["schema"], ["recipes"]],
)
def test_light_commands_do_not_import_heavy_libraries(arguments, tmp_path):
    program = (
        "import atexit, json, sys; listing = sys.argv.pop(1)\n"
        "atexit.register(lambda: open(listing, 'w').write(json.dumps(sorted(sys.modules))))\n"
        "from summtune.commands import main; sys.argv[0] = 'summtune'; main.main()\n"
    )
    listing = tmp_path / "modules.json"
    done = subprocess.run(
        [sys.executable, "-c", program, listing, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    modules = json.loads(listing.read_text())
    assert not HEAVY & set(modules)
    assert "summtune.commands.cli" in modules
    assert len(modules) < 450


def test_the_schema_equals_the_one_next_to_the_recipes(summtune):
    done = summtune("schema")
    assert done.returncode == 0
    assert done.stdout == (package_path("recipes") / "recipe.schema.json").read_text(encoding="utf-8")
    done = summtune("schema", "--markdown")
    assert done.stdout == (package_path("docs") / "recipe_keys.md").read_text(encoding="utf-8")


def test_recipes_are_listed_and_copied(summtune, tmp_path):
    done = summtune("recipes")
    assert done.returncode == 0
    assert f"{package_path('recipes/lora.yaml')}\n    LoRA fine-tuning of FLAN-T5-base" in done.stdout
    done = summtune("init", "lora")
    assert (done.returncode, done.stdout) == (0, "lora.yaml\n")
    assert summtune("validate", "lora.yaml").returncode == 0
    done = summtune("init", "lora")
    assert (done.returncode, done.stderr) == (
        2, "error: the file already exists (got lora.yaml); choose another path with --to\n",
    )  # fmt: skip
    assert [path.name for path in Path(tmp_path).iterdir()] == ["lora.yaml"]


def test_help_names_every_command(summtune):
    done = summtune("--help")
    assert done.returncode == 0
    for command in ("run", "validate", "evaluate", "compare", "report", "recipes", "init", "schema"):
        assert f" {command} " in done.stdout


def test_without_arguments_the_help_is_shown(summtune):
    done = summtune()
    assert "Usage: summtune" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_outputs_of_any_system_are_scored_and_compared(summtune, project, everything_in):
    (project / "a.txt").write_text("test 0 is free.\n" * 6)
    rows = [{"id": f"test_{i}", "prediction": f"test {i} is free."} for i in range(6)]
    (project / "b.csv").write_text(
        "".join(f"{row['id']},{row['prediction']}\n" for row in [{"id": "id", "prediction": "text"}, *rows])
    )
    first = summtune("evaluate", "a.txt", "--references", "test.jsonl", "--output-dir", "a", "--json", cwd=project)
    assert (first.returncode, json.loads(first.stdout)["n"]) == (0, 6), first.stderr
    second = summtune(
        "evaluate", "b.csv", "--prediction-field", "text", "--references", "test.jsonl", "--output-dir", "b", "--name",
        "B", "--set", "bootstrap_samples=1000", cwd=project,
    )  # fmt: skip
    assert second.returncode == 0, second.stderr
    assert "100.0 ± 0.0" in second.stdout
    compared = summtune("compare", "a", "b", "--json", cwd=project)
    assert json.loads(compared.stdout)["differences"][0]["difference"] > 0
    before = everything_in(project / "b")
    assert summtune("report", "b", cwd=project).stdout == "b/report.html\n"
    assert everything_in(project / "b") == before
