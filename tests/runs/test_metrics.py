import pytest
from made_up_results import check_result, diagnostics, estimate

from summtune.base.errors import RunDirectoryError
from summtune.base.strict import parse_model
from summtune.runs.diagnostics import Diagnostics, UnreadLetters
from summtune.runs.metrics import Estimate, ExampleScores


def test_an_interval_has_both_ends_or_none():
    assert estimate(0.5, 0.4, 0.6).interval == (0.4, 0.6)
    assert estimate(0.5).interval is None
    with pytest.raises(RunDirectoryError, match="an interval has both ends or neither"):
        parse_model(Estimate, {"value": 0.5, "ci_low": 0.4, "ci_high": None}, "here")


def test_a_line_of_scores_holds_an_id_and_any_metrics():
    row = parse_model(ExampleScores, {"id": "a", "rouge1": 0.5, "bertscore.f1": 1}, "here")
    assert (row.id, row.scores) == ("a", {"rouge1": 0.5, "bertscore.f1": 1.0})
    with pytest.raises(RunDirectoryError, match=r"rouge1: .*valid number \(got None\)"):
        parse_model(ExampleScores, {"id": "a", "rouge1": None}, "here")


def test_the_check_of_unread_letters_is_read_with_what_only_it_has():
    plain = check_result("Names", 1)
    letters = UnreadLetters(**dict(plain), share=0.5, scripts=("Han",), tokenizer="rouge", recommended="character")
    found = diagnostics({"names": plain, "unread_letters": letters})
    read = parse_model(Diagnostics, found.to_json(), "here")
    assert read == found
    assert read.unread_letters == letters
    assert diagnostics({"names": plain}).unread_letters is None


def test_a_check_is_refused_by_its_name():
    broken = diagnostics({"names": check_result("Names", 1)}).to_json()
    broken["checks"]["names"]["count"] = -1
    with pytest.raises(RunDirectoryError, match=r"checks\.names\.check\.count: .* \(got -1\)"):
        parse_model(Diagnostics, broken, "here")
