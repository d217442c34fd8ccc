"""Real subprocesses do not import the user's files from the current folder."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import summtune
from summtune.base.safe_python import START, forget_current_folder, python_command, safe_environment
from summtune.launchers import local
from summtune.plan.launch import Launch

PACKAGE = Path(summtune.__file__).parent
NAMES = (
    "accelerate", "ast", "copy", "datasets", "deepspeed", "enum", "evaluate", "events", "inspect", "json", "logging",
    "metrics", "numpy", "pkgutil", "platform", "psutil", "queue", "random", "re", "runpy", "signal", "sitecustomize",
    "socket", "statistics", "string", "summtune", "tokenize", "tokenizers", "torch", "transformers", "types",
    "typing", "usercustomize",
)  # fmt: skip


@pytest.fixture
def lived_in(tmp_path, monkeypatch):
    """A current folder with user modules of every name that may be imported; importing one leaves a mark."""
    folder = tmp_path / "lived in"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program = (
        "import posix\nposix.close(posix.open({!r}, posix.O_CREAT | posix.O_WRONLY))\n"
        "raise SystemExit('the user\\'s own')\n"
    )
    for name in NAMES:
        (folder / f"{name}.py").write_text(program.format(str(tmp_path / f"{name} was run")))
    (folder / "peft").mkdir()
    (folder / "peft" / "__init__.py").write_text(program.format(str(tmp_path / "peft was run")))
    yield folder
    assert sorted(path.name for path in tmp_path.glob("* was run")) == []


@pytest.fixture
def as_python_3_10(monkeypatch):
    """An environment without PYTHONSAFEPATH, which Python 3.10 does not know."""
    original = safe_environment
    monkeypatch.setattr(
        "summtune.data.hub_access.safe_environment",
        lambda: {key: value for key, value in original().items() if key != "PYTHONSAFEPATH"},
    )


def run(command, environment=None, **options):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False, **options)


@pytest.mark.parametrize("safe_path", [True, False])
def test_a_module_is_run_without_the_current_or_the_scripts_folder_on_the_path(lived_in, tmp_path, safe_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "shows_itself.py").write_text(
        "import json, statistics, sys\nprint(json.dumps([__name__, sys.argv[1:], sys.path]))\n"
    )
    environment = safe_environment() | {"PYTHONPATH": str(tmp_path / "modules")}
    if not safe_path:
        del environment["PYTHONSAFEPATH"]
    done = run(python_command("shows_itself", "a", "--b"), environment)
    name, arguments, path = json.loads(done.stdout)
    assert (name, arguments, done.stderr) == ("__main__", ["a", "--b"], "")
    assert not {"", str(lived_in), str(PACKAGE)} & set(path)
    assert path[0] == str(tmp_path / "modules")
    assert path[-1] == str(PACKAGE.parent)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("", None),
        (":", None),
        (":/x", "/x"),
        ("/x:", "/x"),
        ("/x::/y", "/x:/y"),
        (".", "."),
        ("/x", "/x"),
    ],
)
def test_empty_entries_in_pythonpath_are_removed_and_named_ones_kept(monkeypatch, given, kept):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONPATH", given)
    values = safe_environment()
    assert (values.get("PYTHONPATH"), values["PYTHONSAFEPATH"]) == (kept, "1")


@pytest.mark.parametrize(("given", "stays"), [(":/x", False), ("/x", True), (":.", True), (None, True)])
def test_the_current_folder_is_removed_from_the_path_only_if_an_empty_entry_added_it(
    monkeypatch, tmp_path, given, stays
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/x"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONPATH", given)
    forget_current_folder()
    assert sys.path == ([str(tmp_path), "/x"] if stays else ["/x"])


def test_waiting_threads_leave_the_cores_to_others_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    launch = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
    assert safe_environment()["GOMP_SPINCOUNT"] == local.environment(launch)["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT" not in safe_environment()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert safe_environment()["GOMP_SPINCOUNT"] == "7"


def test_python_m_summtune_works_like_the_command(tmp_path):
    (tmp_path / "statistics.py").write_text("raise SystemExit('the user\\'s own')\n")
    (tmp_path / "rich.py").write_text("raise SystemExit('the user\\'s own')\n")
    for environment in (os.environ | {"PYTHONPATH": ":"}, {**os.environ}):
        done = run([sys.executable, "-m", "summtune", "--version"], environment, cwd=tmp_path)
        assert (done.stdout, done.stderr) == (f"summtune {summtune.__version__}\n", "")
    done = run([sys.executable, "-m", "summtune", "validate", "no.yaml"], cwd=tmp_path)
    assert done.returncode == 2
    assert "no recipe at this path (got no.yaml)" in done.stderr


def test_hub_processes_import_nothing_from_the_current_folder(lived_in, as_python_3_10, monkeypatch):
    from summtune.base.errors import ModelError
    from summtune.data.hub_access import fetch_model

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="offline mode is on"):
        fetch_model("owner/there-is-no-such-model", None)


METRIC = """
import datasets
import evaluate
from .helper import SCORE


class MyMetric(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"mymetric": [SCORE for _ in predictions]}
"""


def test_a_folder_metric_is_loaded_with_the_modules_of_its_folder(lived_in, as_python_3_10, monkeypatch, tmp_path):
    from summtune.evaluator.extra_metrics import score_extra

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = lived_in / "mymetric"
    folder.mkdir()
    (folder / "mymetric.py").write_text(METRIC)
    (folder / "helper.py").write_text("SCORE = 0.25\n")
    (scores,) = score_extra([(["a", "b"], [["c"], ["d"]])], [str(folder)], aggregate="mean")
    assert scores.per_example["mymetric"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("kind", "processes"), [("none", 1), ("data_parallel", 2), ("deepspeed", 2)])
def test_ranks_and_their_launcher_import_nothing_from_the_current_folder(lived_in, tmp_path, kind, processes):
    """The stages run in ``summtune.worker``; here a module that imports what workers do."""
    from summtune.base.files import write_text
    from summtune.launchers.accelerate_config import accelerate_config, to_yaml

    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "rank.py").write_text(
        "import os, pathlib, sys\nimport statistics, random, torch, tokenizers\nimport summtune.worker\n"
        "pathlib.Path(sys.argv[1], f'rank {os.environ.get(\"RANK\", 0)} is done').touch()\n"
    )
    stage = 2 if kind == "deepspeed" else 0
    launch = Launch(
        distribution=kind, processes=processes, device="cpu", config_file="accelerate.yaml", zero_stage=stage
    )
    write_text(tmp_path / "ds_config.json", '{"zero_optimization": {"stage": 2}}')
    write_text(tmp_path / "accelerate.yaml", to_yaml(accelerate_config(launch, tmp_path)))
    environment = local.environment(launch) | {"PYTHONPATH": str(tmp_path / "modules")}
    del environment["PYTHONSAFEPATH"]  # Python 3.10 does not know it
    command = local.command(launch, tmp_path, [])
    command[command.index("summtune.worker")] = "rank"
    done = run(command, environment)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("rank * is done"))) == processes


def starts_python(node, parents):
    """Return whether a node names the interpreter, or is an argument that makes one run a module or code."""
    if isinstance(node, ast.Attribute):
        # Path(sys.executable).parent is the folder of the environment's tools.
        named = ast.unparse(node) in ("sys.executable", "sys._base_executable")
        return named and not ast.unparse(parents[node]).startswith("Path(")
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and not isinstance(parents[node], ast.Expr):
        word = isinstance(parents[node], (ast.List, ast.Tuple)) and node.value in ("-m", "-c", "python", "python3")
        return word or "python -" in node.value or "-m summtune" in node.value
    return False


def test_every_python_subprocess_is_started_by_safe_python():
    found = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        found += [path.relative_to(PACKAGE).as_posix() for node in ast.walk(tree) if starts_python(node, parents)]
    # The second one compares with the command that accelerate builds.
    assert sorted(found) == ["base/safe_python.py", "work/process/launch.py"]


def test_the_start_script_imports_only_sys_before_its_path_is_clean():
    first, *rest = [
        node.lineno
        for node in ast.walk(ast.parse(Path(START).read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Delete))
    ]
    assert Path(START).read_text(encoding="utf-8").splitlines()[first - 1] == "import sys"
    assert "del sys.path[0]" in Path(START).read_text(encoding="utf-8").splitlines()[min(rest) - 1]
