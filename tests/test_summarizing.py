"""Which models and runs `summtune summarize` refuses; that it summarizes is tested with the real command."""

import pytest

from summtune.errors import ModelError, RunDirectoryError
from summtune.files import write_json
from summtune.resolution import resolve
from summtune.summarizing import summarize


def refuse(event):
    raise AssertionError(f"nothing may be started (got {event})")


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match=r"^no such builtin model \(got builtin/flan\)"):
        summarize("builtin/flan", ["a"], refuse)


def test_outputs_from_elsewhere_have_no_model(tmp_path):
    write_json(tmp_path / "plan.json", {"kind": "scored"})
    with pytest.raises(RunDirectoryError, match=r"outputs from elsewhere were scored here \(got .*\); name a run or a"):
        summarize(str(tmp_path), ["a"], refuse)


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        ("train.yaml", "the run has not finished its training .got .*; run its recipe to the end first"),
        ("both.yaml", "a comparison has several models .got .*; name the run of one of its systems"),
    ],
)
def test_a_run_without_one_finished_model_is_refused(project, recipe, match):
    write_json(project / "run" / "plan.json", resolve(project / recipe).plan.to_json())
    with pytest.raises(RunDirectoryError, match=match):
        summarize(str(project / "run"), ["a"], refuse)
