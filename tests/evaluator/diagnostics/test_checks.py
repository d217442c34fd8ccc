import pytest

from summtune.evaluator.diagnostics.checks import (
    CHECKS,
    EXAMPLES,
    is_worth_a_warning,
    result,
    warnings,
    warnings_beside,
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
def test_what_people_do_too_is_warned_of_when_it_is_clearly_more(count, of, references, warned):
    assert is_worth_a_warning("names", entry("names", count, of, references)) is warned


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.always])
def test_some_are_warned_of_at_the_first_case(name):
    assert is_worth_a_warning(name, entry(name, 1, 1000))
    assert not is_worth_a_warning(name, entry(name, 0, 1000))


def test_unchanged_weights_are_warned_of_when_they_are_all():
    assert not is_worth_a_warning("weights_unchanged", result("weights_unchanged", [], 5, count=4))
    assert warnings({"weights_unchanged": result("weights_unchanged", [], 5, count=5)}) == [
        "The model equals its base: all 5 weights are bitwise as they were; these are the base model's scores."
    ]


def test_a_warning_shows_what_was_found_and_what_people_do():
    assert warnings({"names": entry("names", 4, 10, 0.05)}) == [
        "4 of 10 predictions have a name that the dialogue lacks (5 % of the references do, for instance d0: what; "
        "d1: what; d2: what)."
    ]


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.warning])
def test_every_check_has_its_sentence(name):
    (sentence,) = warnings({name: entry(name, 7, 7)})
    assert "7" in sentence
    assert "{" not in sentence


def test_beside_each_other_systems_share_a_sentence_for_each_check():
    found = {
        "a": {
            "names": result("names", [("1", "Bob"), ("2", "Al")], 10, references=0.05),
            "leakage_train": result("leakage_train", [], 10, count=3),
        },
        "b": {"names": result("names", [("1", "Bob")], 10, references=0.05)},
        "c": {"names": result("names", [("1", "Bob")] * 4, 10, references=0.05)},
    }
    assert warnings_beside(found) == [
        "Names that the dialogue lacks: a 2 of 10, c 4 of 10 (of the references 5 %).",
        "Test dialogues in the training data: a 3 of 10; the scores are not to be trusted.",
    ]
    assert warnings_beside({"b": found["b"]}) == []
