import pytest

from summtune.evaluator.diagnostics.checks import (
    CHECKS,
    EXAMPLES,
    is_worth_a_warning,
    joint_warnings,
    result,
    warnings,
)


def entry(name, count, of, references=None):
    return result(name, [(f"d{i}", "what") for i in range(count)], of, references)


def test_a_result_shows_some_of_its_cases():
    found = entry("names", 9, 20, 0.01)
    assert found.to_json() == {
        "title": CHECKS["names"].title, "meaning": CHECKS["names"].meaning, "count": 9, "of": 20, "references": 0.01,
        "examples": [{"id": f"d{i}", "found": "what"} for i in range(EXAMPLES)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "of", "references", "warned"),
    [(2, 100, 0.0, True), (1, 10, 0.0, False), (1, 100, 0.0, False), (3, 200, 0.0, False), (22, 100, 0.1, True),
     (21, 100, 0.1, False), (2, 100, None, True), (0, 1, None, False)],
)  # fmt: skip
def test_a_warning_needs_clearly_more_cases_than_the_references_have(count, of, references, warned):
    assert is_worth_a_warning("names", entry("names", count, of, references)) is warned


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.least == 0])
def test_some_checks_warn_at_the_first_case(name):
    assert is_worth_a_warning(name, entry(name, 1, 1000))
    assert not is_worth_a_warning(name, entry(name, 0, 1000))


def test_unchanged_weights_give_a_warning_only_if_all_are_unchanged():
    assert not is_worth_a_warning("weights_unchanged", result("weights_unchanged", [], 5, count=4))
    (warning,) = warnings({"weights_unchanged": result("weights_unchanged", [], 5, count=5)})
    assert "all 5 weight tensors are bitwise unchanged; these are the base model's scores" in warning


@pytest.mark.parametrize(("count", "warned"), [(0, False), (4, False), (5, True), (9, True)])
def test_outputs_that_equal_a_reference_give_a_warning_if_half_of_them_do(count, warned):
    assert is_worth_a_warning("equal_to_reference", entry("equal_to_reference", count, 9)) is warned


def test_a_warning_shows_examples_and_the_share_of_the_references():
    assert warnings({"names": entry("names", 4, 10, 0.05)}) == [
        "4 of 10 predictions have a name that the dialogue lacks (5 % of the references do, for instance d0: what; "
        "d1: what; d2: what)."
    ]


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.warning])
def test_every_check_has_a_sentence(name):
    (sentence,) = warnings({name: entry(name, 7, 7)})
    assert "7" in sentence
    assert "{" not in sentence


def test_systems_share_one_sentence_per_check():
    found = {
        "a": {
            "names": result("names", [("1", "Bob"), ("2", "Al")], 10, references=0.05),
            "leakage_train": result("leakage_train", [], 10, count=3),
        },
        "b": {"names": result("names", [("1", "Bob")], 10, references=0.05)},
        "c": {"names": result("names", [("1", "Bob")] * 4, 10, references=0.05)},
    }
    assert joint_warnings(found) == [
        "Test dialogues in the training data: a 3 of 10; do not trust the scores.",
        "Names that the dialogue lacks: a 2 of 10, c 4 of 10 (of the references 5 %).",
    ]
    assert joint_warnings({"b": found["b"]}) == []
