import pytest
from made_up_results import compared_system, comparison, difference

from summtune.base.errors import RunDirectoryError
from summtune.base.strict import parse_model
from summtune.runs.comparison import Comparison

SYSTEMS = [compared_system("a"), compared_system("b")]


def test_a_comparison_is_read_as_it_was_written():
    made = comparison(SYSTEMS, [difference("b", "a", 0.1, 0.05, 0.15, 0.01)], "a", verdict=("b beats a.",))
    assert parse_model(Comparison, made.to_json(), "here") == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "c"}, "baseline is not one of the systems: 'c'"),
        ({"systems": [SYSTEMS[0].to_json()]}, r"systems: .*at least 2 items"),
        ({"n": 0}, r"n: .* \(got 0\)"),
        ({"protocol": {"correction": None}}, "protocol.implementation: Field required"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(change, message):
    with pytest.raises(RunDirectoryError, match=message):
        parse_model(Comparison, comparison(SYSTEMS).to_json() | change, "here")


def test_a_comparison_with_holms_correction_is_made_again():
    made = comparison(SYSTEMS).to_json()
    made["protocol"]["correction"] = "holm"
    with pytest.raises(RunDirectoryError, match=r"protocol.correction: .*max_t.*\(got 'holm'\).*command that wrote it"):
        parse_model(Comparison, made, "here")


@pytest.mark.parametrize(("low", "p_adjusted"), [(0.05, 0.06), (-0.05, 0.04), (0.0, 0.04)])
def test_an_interval_that_disagrees_with_its_p_value_is_refused(low, p_adjusted):
    made = comparison(SYSTEMS).to_json() | {"differences": [difference("b", "a", 0.1, low, 0.15, p_adjusted).to_json()]}
    with pytest.raises(RunDirectoryError, match=rf"of b against a on rouge1 disagree: .*{p_adjusted}"):
        parse_model(Comparison, made, "here")


def test_parameters_are_known_together_or_not_at_all():
    assert compared_system("a", trainable=0, total=7).parameters == (0, 7)
    assert compared_system("a").parameters is None
