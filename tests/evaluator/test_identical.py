from made_up_summaries import GOOD, POOR

from summtune.evaluator.identical import identical_outputs, warnings
from summtune.evaluator.systems import read_scores
from summtune.runs.comparison import SharedOutputs
from summtune.runs.diagnostics import Finding


def check(*systems):
    scored = [read_scores(system) for system in systems]
    return identical_outputs([(b, a) for i, a in enumerate(scored) for b in scored[i + 1 :]])


def test_systems_that_wrote_the_same_are_counted_with_examples(finished):
    found = check(finished("a", GOOD), finished("b", GOOD), finished("c", POOR))
    assert (found.count, found.of) == (1, 3)
    assert found.examples[0] == Finding(id="0", found=GOOD[0])
    assert found.pairs[0] == SharedOutputs(a="b", b="a", count=40, of=40)
    assert {(row.a, row.count) for row in found.pairs[1:]} == {("c", 0)}


def test_a_trained_system_that_wrote_what_its_base_wrote_may_not_have_been_trained(finished):
    found = check(finished("Original", GOOD), finished("LoRA", GOOD, kind="train"))
    assert list(warnings(found, {"LoRA": "Original"})) == [
        "LoRA wrote exactly what Original wrote for every dialogue; its training may have changed nothing."
    ]
    assert list(warnings(found, {})) == ["LoRA wrote exactly what Original wrote for every dialogue."]


def test_a_warning_is_given_from_half_of_the_outputs_in_common(finished):
    original = finished("Original", GOOD)
    half = check(original, finished("half", GOOD[:20] + POOR[20:]))
    assert list(warnings(half, {})) == ["half wrote exactly what Original wrote for 20 of 40 dialogues."]
    fewer = check(original, finished("fewer", GOOD[:19] + POOR[19:]))
    assert list(warnings(fewer, {})) == []
