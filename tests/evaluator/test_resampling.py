import numpy as np
import pytest
from scipy import stats

from summtune.evaluator import resampling
from summtune.evaluator.resampling import bootstrap_means, estimate_means
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


def test_equal_scores_have_an_empty_interval():
    zeros = np.zeros((30, 1))
    assert estimate_means(zeros, samples=200, confidence=0.95, seed=1) == [Estimate(value=0.0, ci_low=0.0, ci_high=0.0)]


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


def test_the_interval_of_a_mean_has_its_nominal_coverage():
    columns = np.random.default_rng(11).beta(2.0, 5.0, size=(100, 500))  # true mean 2/7
    estimates = estimate_means(columns, samples=1000, confidence=0.9, seed=1)
    covered = np.mean([estimate.ci_low <= 2 / 7 <= estimate.ci_high for estimate in estimates])
    assert 0.86 <= covered <= 0.94
