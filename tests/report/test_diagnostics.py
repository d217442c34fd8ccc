from made_up_results import check_result, identical
from made_up_results import diagnostics as made_up_diagnostics

from summtune.report.diagnostics import diagnostics
from summtune.runs.comparison import SharedOutputs

EMPTY = check_result("Empty outputs", 0, references=0.0, of=200)
CAP = check_result("At the cap", 24, [("test_1", "64 tokens"), ("test_9", "64 tokens")], of=200)
NAMES = check_result("Names", 3, [("test_2", "Otto")], references=0.004, of=150)


def found_in(checks, **means):
    return made_up_diagnostics(checks, means)


def test_checks_are_rows_and_systems_columns():
    found = diagnostics(
        ["a", "b"], [found_in({"empty": EMPTY, "cap": CAP}), found_in({"empty": EMPTY, "names": NAMES})]
    )
    table = found.table()
    assert table.header == ("Check", "a", "b", "References")
    assert table.rows == (
        ("Empty outputs", "0", "0", "0 %"),
        ("At the cap", "24 (12 %)", "–", "–"),
        ("Names", "–", "3 (2 %)", "0.4 %"),
    )


def test_examples_are_grouped_by_system():
    found = diagnostics(["a", "b"], [found_in({"cap": CAP}), found_in({"cap": CAP})])
    examples = found.checks[0].examples_by_system()
    assert [(name, [each.id for each in some]) for name, some in examples.items()] == [
        ("a", ["test_1", "test_9"]),
        ("b", ["test_1", "test_9"]),
    ]


def test_means_are_formatted_by_their_kind():
    found = diagnostics(
        ["a", "b"],
        [
            found_in({}, new_tokens=None, prediction_words=22.25, novel_2_grams=0.5, length_ratio=1.086),
            found_in({}, reference_words=19.8, reference_novel_2_grams=0.6875),
        ],
    )
    assert found.table() is None
    assert found.means.header == ("Mean of an output", "Words", "New pairs", "Length ratio")
    assert found.means.rows == (
        ("a", "22.2", "50 %", "1.09"),
        ("b", "–", "–", "–"),
        ("references", "19.8", "68.8 %", "–"),
    )


def test_an_unknown_mean_keeps_its_name_and_zero_is_shown():
    means = diagnostics(["a"], [found_in({}, sentence_count=0.0)]).means
    assert means.header[1] == "Sentence count"
    assert means.rows == (("a", "0.00"),)


def test_without_diagnostics_there_is_nothing_to_show():
    found = diagnostics(["a"], [found_in({})])
    assert (found.checks, found.pairs, found.means) == ((), (), None)


def test_pairs_of_systems_with_identical_outputs_are_listed():
    shared = SharedOutputs(a="LoRA", b="Original", count=50, of=200)
    none = SharedOutputs(a="c", b="d", count=0, of=200)
    assert diagnostics(["a"], [found_in({})], identical(shared, none)).pairs == (
        "LoRA and Original wrote the same for 50 of 200 dialogues (25 %).",
    )
    assert diagnostics(["a"], [found_in({})], identical(none)).pairs == (
        "No two systems wrote the same for any dialogue.",
    )
