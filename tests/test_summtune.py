"""The functions of the package: light to import, and usable in a fresh process and in a thread."""

import inspect
import json
import subprocess
import sys

import pytest
from in_process import call

import summtune
from summtune.commands import notebook

_LIGHT = """
import sys
before = set(sys.modules)
import summtune
print(*sorted(set(sys.modules) - before))
"""

_IN_A_THREAD = """
import json, signal, sys, threading
import summtune
recipe = {
    "kind": "prompt",
    "base_model": "builtin/flan-t5-nano",
    "test_datasets": [{"path": "builtin/dialogues", "limit": 2}],
    "generation": {"max_new_tokens": 4},
}
results = []
thread = threading.Thread(target=lambda: results.append(summtune.run(recipe, generation={"num_beams": 2}, seed=3)))
thread.start()
thread.join()
first, = results
again = summtune.run(recipe, quiet=True, seed=3, **{"generation.num_beams": 2})
scored = summtune.evaluate(
    [each.prediction for each in first.predictions], [each.references for each in first.predictions]
)
handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
print(json.dumps({
    "run_dir": str(first.run_dir),
    "report": first.report.is_file(),
    "again": again == first,
    "scores": [first.metrics["rouge1"].value, scored.metrics["rouge1"].value],
    "predictions": len(first.predictions),
    "handlers": [handler == signal.SIG_DFL for handler in handlers],
    "torch": "torch" in sys.modules,
}))
"""


def in_a_process(code, folder, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=True
    )


def test_importing_summtune_imports_nothing_but_its_version(tmp_path):
    done = in_a_process(_LIGHT, tmp_path, "-I")
    assert set(done.stdout.split()) <= {"__future__", "summtune", "summtune.base", "summtune.base.version"}


def test_a_prompt_runs_in_a_thread_of_a_fresh_process_and_is_not_run_twice(tmp_path):
    done = in_a_process(_IN_A_THREAD, tmp_path)
    found = json.loads(done.stdout)
    (run_dir,) = (tmp_path / "outputs").iterdir()
    assert run_dir.name.startswith("prompt-")
    assert found["run_dir"] == str(run_dir)
    assert found["report"]
    assert found["again"]
    assert found["scores"][0] == pytest.approx(found["scores"][1])
    assert found["predictions"] == 2
    assert found["handlers"] == [True, True]
    assert not found["torch"]
    assert done.stderr.count("predict  starting 1 process") == 1
    assert "already complete" not in done.stderr
    recipe = json.loads((run_dir / "recipe.yaml").read_text())
    assert recipe["generation"] == {"max_new_tokens": 4}  # as given; what overrides it is in the plan
    assert json.loads((run_dir / "plan.json").read_text())["recipe"]["generation"]["num_beams"] == 2


def test_types_of_results_are_there_for_annotations():
    assert summtune.Result is notebook.Result
    assert summtune.Comparison is notebook.Comparison
    assert summtune.Difference is notebook.Difference
    with pytest.raises(AttributeError, match="'summtune' has no attribute 'sweep'"):
        _ = summtune.sweep


def test_every_argument_is_documented():
    for function in (summtune.run, summtune.evaluate, summtune.compare):
        for name in inspect.signature(function).parameters:
            assert f"        {name}: " in function.__doc__, (function.__name__, name)


def test_the_version_of_the_command_is_that_of_the_package():
    assert call("--version").stdout == f"summtune {summtune.__version__}\n"
