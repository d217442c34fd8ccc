"""Fixed diagnostics for tests of the report, independent of what the evaluator finds in their few dialogues."""

from made_up_results import check_result, diagnostics

from summtune.base.files import write_json
from summtune.base.strict import read_model
from summtune.runs.metrics import RunMetrics


def put_diagnostics(folder):
    """Put them into the ``metrics.json`` of a run."""
    checks = {
        "empty": check_result("Empty outputs", 0, references=0.0),
        "length_cap": check_result("Outputs at the length cap", 2, [("test_1", "6 tokens"), ("test_3", "64 tokens")]),
        "names": check_result("Names that the dialogue lacks", 1, [("test_2", "Otto")], references=0.0125),
    }
    means = {"prompt_tokens": 20.0, "new_tokens": None, "prediction_words": 5.5, "reference_words": 6.25}
    means |= {"novel_2_grams": 0.125, "reference_novel_2_grams": 0.75}
    warning = "1 of 6 predictions hit max_new_tokens and may be cut short (for instance test_1)."
    put_scores(folder, diagnostics=diagnostics(checks, means, warnings=(warning,)))


def put_scores(folder, **changes):
    """Change fields of the ``metrics.json`` of a run."""
    scores = read_model(RunMetrics, folder / "metrics.json")
    write_json(folder / "metrics.json", scores.model_copy(update=changes).to_json())
