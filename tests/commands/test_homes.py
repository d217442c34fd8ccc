"""A ``~`` is expanded in every path that a command takes, also after an equals sign."""

import pytest
from in_process import call, keeps_its_promise


@pytest.fixture
def home(project, monkeypatch, tmp_path_factory):
    """Return a home folder with a project; the current folder is another, empty one."""
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "~/prompt.yaml", "~/train.yaml"],
        ["run", "~/prompt.yaml", "--dry-run", "--output-dir=~/result"],
        ["run", "~/prompt.yaml", "--dry-run", "--set", "test_datasets.0.path=~/test.jsonl"],
        ["run", "~/both.yaml", "--dry-run", "--set", "recipes=[~/prompt.yaml, ~/train.yaml]"],
        ["evaluate", "~/test.jsonl", "--prediction-field=summary", "--references=~/test.jsonl"],
        ["evaluate", "~/test.jsonl", "--prediction-field=summary", "--recipe=~/prompt.yaml", "--output-dir=~/result"],
        ["init", "--to=~/mine.yaml"],
        ["doctor", "~/train.yaml", "--gpu-memory=40"],
    ],
    ids=" ".join,
)
def test_a_tilde_in_a_path_is_expanded(home, tmp_path, arguments):
    done = keeps_its_promise(call(*arguments))
    assert done.code == 0, done.stderr
    assert "~" not in done.stdout


def test_files_are_written_below_the_expanded_home(home):
    scored = ["evaluate", "~/test.jsonl", "--prediction-field=summary", "--references=~/test.jsonl"]
    assert call(*scored, "--output-dir=~/one").code == 0
    assert call(*scored, "--output-dir=~/two", "--name=two").code == 0
    assert (home / "one" / "report.html").is_file()
    assert call("report", "~/one", "--png=~/chart.png").code == 0
    assert (home / "chart.png").is_file()
    assert call("compare", "~/one", "~/two").code == 0


def test_a_folder_whose_name_starts_with_a_tilde_is_not_expanded(home, monkeypatch):
    monkeypatch.chdir(home)
    done = call(
        "evaluate", "test.jsonl", "--prediction-field=summary", "--references=test.jsonl", "--output-dir=./~/one"
    )
    assert done.code == 0, done.stderr
    assert (home / "~" / "one" / "report.html").is_file()
    scored = ["evaluate", "./~/one/predictions.jsonl", "--references=./~/one/predictions.jsonl"]
    assert call(*scored, "--summary-field=references", "--dialogue-field=dialogue").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "{}"],
        ["run", "{}"],
        ["run", "~/prompt.yaml", "--output-dir={}"],
        ["evaluate", "{}"],
        ["evaluate", "~/test.jsonl", "--references={}"],
        ["evaluate", "~/test.jsonl", "--recipe={}"],
        ["evaluate", "~/test.jsonl", "--output-dir={}"],
        ["compare", "{}", "{}"],
        ["report", "{}"],
        ["report", "~/run", "--png={}"],
        ["summarize", "{}", "~/test.jsonl"],
        ["summarize", "~/model", "{}"],
        ["init", "--to={}"],
        ["doctor", "{}"],
        ["doctor", "--model={}"],
        ["run", "~/prompt.yaml", "--dry-run", "--set=output_dir={}"],
        ["run", "~/both.yaml", "--dry-run", "--set=recipes=[{}, ~/train.yaml]"],
    ],
    ids=" ".join,
)
def test_the_home_of_an_unknown_user_is_refused(home, everything_in, arguments):
    path = "~nobody_of_that_name/x"
    before = everything_in(home)
    done = keeps_its_promise(call(*(argument.format(path) for argument in arguments)))
    assert done.code == 2
    assert f"no such user, or one without a home (got {path}); correct it" in done.stderr
    assert everything_in(home) == before
