import itertools

import numpy as np
import pytest
from scipy import stats

from summtune.evaluator import resampling
from summtune.evaluator.resampling import bootstrap_means, estimate_means, holm, paired_p_values
from summtune.runs.metrics import Estimate


@pytest.fixture
def scores():
    return np.random.default_rng(3).beta(2.0, 5.0, size=(120, 2))


def test_the_value_is_the_mean_and_inside_its_interval(scores):
    estimates = estimate_means(scores, samples=500, confidence=0.95, seed=1)
    for column, estimate in enumerate(estimates):
        assert estimate.value == pytest.approx(scores[:, column].mean())
        assert estimate.ci_low < estimate.value < estimate.ci_high


def test_the_interval_is_scipys_within_monte_carlo_error(scores):
    column = scores[:, 0]
    ours = estimate_means(scores, samples=20_000, confidence=0.9, seed=1)[0]
    theirs = stats.bootstrap(
        (column,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=np.random.default_rng(2)
    )
    # The standard error of a 5 % quantile from 20,000 resamples is 0.015 standard errors of the mean.
    slack = 5 * 0.015 * theirs.standard_error * np.sqrt(2)
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=slack)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=slack)


def test_the_p_value_is_scipys_within_monte_carlo_error():
    generator = np.random.default_rng(5)
    a = generator.normal(size=60)
    b = a + generator.normal(0.35, 1.0, size=60)
    ours = paired_p_values((a - b)[:, np.newaxis], permutations=20_000, seed=1)[0]
    theirs = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).pvalue
    slack = 5 * np.sqrt(2 * theirs * (1 - theirs) / 20_000)
    assert 0.01 < theirs < 0.5
    assert ours == pytest.approx(theirs, abs=slack)


def test_the_p_value_counts_ties_and_approaches_the_exact_one():
    differences = np.array([0.1, 0.2, 0.3, -0.1, 0.2, 0.1])
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=6)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-9 for total in flipped])
    ours = paired_p_values(differences[:, np.newaxis], permutations=20_000, seed=1)[0]
    assert ours == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000))


def test_equal_systems_have_a_p_value_of_one_and_an_empty_interval():
    zeros = np.zeros((30, 1))
    assert paired_p_values(zeros, permutations=200, seed=1) == [1.0]
    assert estimate_means(zeros, samples=200, confidence=0.95, seed=1) == [Estimate(value=0.0, ci_low=0.0, ci_high=0.0)]


def test_the_smallest_p_value_is_one_over_the_permutations_plus_one():
    assert paired_p_values(np.ones((50, 1)), permutations=999, seed=1) == pytest.approx([0.001])


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(scores):
    means = [bootstrap_means(scores, samples=50, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])


def test_columns_share_their_resamples(scores):
    twice = np.column_stack([scores[:, 0], 1 - scores[:, 0]])
    np.testing.assert_allclose(bootstrap_means(twice, samples=50, seed=1).sum(axis=1), 1.0)


def test_a_resample_draws_as_many_dialogues_as_there_are(monkeypatch):
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 100)
    chunks = list(resampling._resample_counts(20, 13, seed=1))
    assert [len(counts) for counts in chunks] == [5, 5, 3]
    assert all((counts.sum(axis=1) == 20).all() for counts in chunks)


def test_chunks_hold_no_more_cells_than_allowed(monkeypatch):
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 90)
    assert list(resampling._chunks(30, 7)) == [3, 3, 1]
    assert list(resampling._chunks(1000, 3)) == [1, 1, 1]


def test_one_dialogue_leaves_nothing_to_resample():
    assert estimate_means(np.array([[0.4]]), samples=100, confidence=0.95, seed=1) == [
        Estimate(value=0.4, ci_low=None, ci_high=None)
    ]


def test_the_interval_of_a_difference_is_scipys_paired_bootstrap():
    generator = np.random.default_rng(8)
    b = generator.beta(2.0, 5.0, size=150)
    a = np.clip(b + generator.normal(0.03, 0.1, size=150), 0, 1)
    ours = estimate_means((a - b)[:, np.newaxis], samples=20_000, confidence=0.95, seed=1)[0]
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    # The standard error of a 2.5 % quantile from 20,000 resamples is 0.019 standard errors of the mean.
    slack = 5 * 0.019 * theirs.standard_error * np.sqrt(2)
    assert ours.value == pytest.approx(a.mean() - b.mean())
    assert ours.ci_low == pytest.approx(theirs.confidence_interval.low, abs=slack)
    assert ours.ci_high == pytest.approx(theirs.confidence_interval.high, abs=slack)


def test_holm_multiplies_the_smallest_by_all_and_keeps_the_order():
    # 0.005 × 4, 0.01 × 3, 0.03 × 2, and 0.04 × 1, which must not be smaller than the one before it.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_is_at_most_one_and_does_not_change_a_single_test():
    np.testing.assert_allclose(holm(np.array([0.6, 0.9, 0.6])), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.03])), [0.03])
    assert holm(np.array([])).shape == (0,)


def scores_of_dialogues(generator, experiments, systems, effect=0.0):
    """Return made-up scores, shape (dialogues, experiments, systems): skewed, and hard dialogues are hard for all."""
    difficulty = generator.beta(2.0, 5.0, size=(100, experiments, 1))
    scores = difficulty + generator.beta(2.0, 6.0, size=(100, experiments, systems)) * 0.5
    scores[:, :, 1:] += effect
    return scores


def test_the_interval_of_a_difference_has_its_nominal_coverage():
    experiments = 500
    scores = scores_of_dialogues(np.random.default_rng(11), experiments, 2, effect=0.03)
    estimates = estimate_means(scores[:, :, 1] - scores[:, :, 0], samples=1000, confidence=0.95, seed=1)
    covered = np.mean([estimate.ci_low <= 0.03 <= estimate.ci_high for estimate in estimates])
    # Three standard errors of a share of 0.95 among 500 are 0.029; of 100 dialogues the percentile interval is a
    # little too short, as is known.
    assert 0.92 <= covered <= 0.98


def test_the_interval_of_a_mean_has_its_nominal_coverage():
    columns = np.random.default_rng(11).beta(2.0, 5.0, size=(100, 500))  # true mean 2/7
    estimates = estimate_means(columns, samples=1000, confidence=0.9, seed=1)
    covered = np.mean([estimate.ci_low <= 2 / 7 <= estimate.ci_high for estimate in estimates])
    assert 0.86 <= covered <= 0.94


def test_equal_systems_are_called_different_at_the_nominal_rate():
    experiments = 1000
    scores = scores_of_dialogues(np.random.default_rng(12), experiments, 2)
    p_values = paired_p_values(scores[:, :, 1] - scores[:, :, 0], permutations=999, seed=1)
    for level in (0.01, 0.05, 0.2):
        slack = 3 * np.sqrt(level * (1 - level) / experiments)
        assert np.mean(p_values <= level) == pytest.approx(level, abs=slack)


def test_holm_bounds_the_rate_of_any_false_alarm_by_the_level():
    experiments, systems = 300, 4
    scores = scores_of_dialogues(np.random.default_rng(13), experiments, systems)
    pairs = [scores[:, :, a] - scores[:, :, b] for a, b in itertools.combinations(range(systems), 2)]
    p_values = np.stack([paired_p_values(differences, permutations=999, seed=1) for differences in pairs], axis=1)
    alarms = np.mean([holm(row).min() < 0.05 for row in p_values])
    uncorrected = np.mean(p_values.min(axis=1) < 0.05)
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments)
    assert uncorrected > 0.1  # six tests at 5 % each


def test_a_real_difference_is_found():
    scores = scores_of_dialogues(np.random.default_rng(14), 200, 2, effect=0.04)
    p_values = paired_p_values(scores[:, :, 1] - scores[:, :, 0], permutations=999, seed=1)
    assert np.mean(p_values < 0.05) > 0.8
