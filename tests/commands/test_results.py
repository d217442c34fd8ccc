"""The printed result of a run has the warnings of its report."""

import pytest

from summtune.base.console import SafeConsole
from summtune.base.files import read_json, write_jsonl
from summtune.commands.evaluate import Call, score_outputs
from summtune.commands.results import show_result
from summtune.runs.records import Prediction


@pytest.fixture
def predictions(tmp_path):
    rows = [
        Prediction(str(i), "A: Hi.", f"They greet {i}." if i else "", (f"They greet {i}.", "A greeting."), 9, 4, False)
        for i in range(4)
    ]
    write_jsonl(tmp_path / "outputs.jsonl", [row.to_json() for row in rows])
    return str(tmp_path / "outputs.jsonl")


def test_the_warnings_of_the_report_are_printed(predictions, tmp_path, capsys):
    score_outputs(Call(predictions), tmp_path / "scored", as_json=True)
    warnings = read_json(tmp_path / "scored" / "metrics.json")["diagnostics"]["warnings"]
    report = (tmp_path / "scored" / "report.md").read_text()
    capsys.readouterr()
    show_result(tmp_path / "scored", SafeConsole(stderr=True))
    said = capsys.readouterr().err
    assert warnings
    for warning in warnings:
        assert f"warning: {warning}\n" in said
        assert f"- {warning}" in report
