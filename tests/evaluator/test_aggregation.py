import numpy as np
import pytest

from summtune.evaluator.aggregation import by_dialogue, by_references

PAIRS = np.array([[0.1, 0.9], [0.5, 0.1], [0.3, 0.3], [0.2, 0.4]])
COUNTS = [2, 1, 1]


def test_a_dialogues_score_is_the_mean_over_its_references():
    np.testing.assert_allclose(by_dialogue(PAIRS, COUNTS, "mean"), [[0.3, 0.5], [0.3, 0.3], [0.2, 0.4]])


def test_or_the_best_of_each_metric_on_its_own():
    np.testing.assert_allclose(by_dialogue(PAIRS, COUNTS, "max"), [[0.5, 0.9], [0.3, 0.3], [0.2, 0.4]])


def test_one_metric_may_come_without_a_column():
    np.testing.assert_allclose(by_dialogue(PAIRS[:, 0], COUNTS, "mean"), [0.3, 0.3, 0.2])


def test_every_aggregation_is_told_and_each_reference():
    found = by_references(np.array([0.1, 0.5, 0.3, 0.7]), [2, 2])
    assert found.mean == pytest.approx(0.4)
    assert found.max == pytest.approx(0.6)
    assert found.each == pytest.approx((0.2, 0.6))


def test_references_that_not_every_dialogue_has_are_no_set():
    assert by_references(PAIRS[:, 0], COUNTS).each is None
