import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from summtune.evaluator import resampling, simultaneous
from summtune.evaluator.simultaneous import compare_with_zero

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "simultaneous.py"))
holm, simulate, Truth = SCRIPT["holm"], SCRIPT["simulate"], SCRIPT["Truth"]


def compared(differences, permutations=999, confidence=0.95, seed=1):
    return compare_with_zero(
        np.asarray(differences, dtype=float), permutations=permutations, confidence=confidence, seed=seed
    )


def p_values(rows):
    return np.array([row.p_value for row in rows]), np.array([row.p_adjusted for row in rows])


@pytest.fixture
def every_flip(monkeypatch):
    """Replace the random flips by all of them; the count is that of the flips."""

    def flips(n, permutations, seed, columns):
        yield np.array(list(itertools.product([-1.0, 1.0], repeat=n)))

    monkeypatch.setattr(simultaneous, "sign_flips", flips)
    return lambda differences, confidence=0.95: compared(differences, 2 ** len(differences), confidence)


def test_two_dialogues_by_hand(every_flip):
    # Sums of a under ++, +-, -+, --: 4, 2, -2, -4; of b: 2, 0, 0, -2. Over √2 times the norms √10 and √2 the statistics
    # are 0.89 and 0.45 for a, 1 and 0 for b. The largest is at least b's 1 in two flips, and so is a's own.
    rows = every_flip([[3, 1], [1, 1]])
    assert [row.p_value for row in rows] == [3 / 5, 3 / 5]
    assert [row.p_adjusted for row in rows] == [3 / 5, 3 / 5]
    assert [(row.low, row.high) for row in rows] == [(None, None)] * 2


def test_every_flip_of_a_small_table_gives_what_the_definition_says(every_flip):
    differences = np.array(
        [[3, 1, -2], [4, 2, 1], [5, -0.5, 3], [6, 2, -4], [7, 3, 1], [5, 1, 2], [6, 3, -1], [4, 1, 1]]
    )
    n, width = differences.shape
    flips = np.array(list(itertools.product([-1, 1], repeat=n)))[:, :, np.newaxis] * differences
    observed = abs(differences.mean(axis=0)) / stats.sem(differences)
    flipped = abs(flips.mean(axis=1)) / stats.sem(flips, axis=1)
    steps = sorted(range(width), key=lambda column: -observed[column])
    adjusted, before = {}, 0.0
    for place, column in enumerate(steps):
        largest = flipped[:, steps[place:]].max(axis=1)
        count = (largest >= observed[column] * (1 - 1e-9)).sum()
        before = adjusted[column] = max(before, (count + 1) / (len(flips) + 1))
    rows = every_flip(differences)
    assert [row.p_adjusted for row in rows] == pytest.approx([adjusted[column] for column in range(width)])
    assert [row.p_adjusted < 0.05 for row in rows] == [True, True, False]
    alone = [((flipped[:, c] >= observed[c] * (1 - 1e-9)).sum() + 1) / (len(flips) + 1) for c in range(width)]
    assert [row.p_value for row in rows] == pytest.approx(alone)


def test_a_row_that_only_a_later_step_finds_has_the_critical_value_of_that_step(every_flip):
    generator = np.random.default_rng(1)
    clear, slight = np.full(10, 5.0) + generator.normal(size=10), generator.normal(0.5, 0.2, size=10)
    differences = np.column_stack([clear, slight, *generator.normal(size=(6, 10))])
    slight_rows = {}
    for shift in np.arange(0.0, 0.5, 0.01):
        rows = every_flip(differences - shift * np.eye(8)[1], confidence=0.9)
        errors = stats.sem(differences, axis=0)
        critical = np.array([(row.high - row.low) / 2 for row in rows]) / errors
        if critical[1] < critical[0] - 1e-9:
            slight_rows[shift] = rows[1]
            later = every_flip((differences - shift * np.eye(8)[1])[:, 1:], confidence=0.9)
            assert np.allclose(critical[[0, *range(2, 8)]], critical[0])
            assert rows[1].low > 0
            assert rows[1].high - rows[1].low <= later[0].high - later[0].low + 1e-9
    assert slight_rows


matrices = arrays.arrays(
    float,
    st.tuples(st.integers(1, 12), st.integers(1, 5)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-1, 1, width=16)),
)


@settings(max_examples=150, deadline=None)
@given(
    matrices,
    st.lists(st.sampled_from([1e-9, 1.0, 7e12]), min_size=5, max_size=5),
    st.sampled_from([0.51, 0.8, 0.95, 0.995]),
    st.sampled_from([19, 199]),
    st.integers(0, 5),
)
def test_a_row_is_significant_exactly_if_its_interval_excludes_zero(values, scales, confidence, permutations, shift):
    differences = (values + shift) * scales[: values.shape[1]]
    for row in compared(differences, permutations, confidence):
        significant = row.p_adjusted < 1 - confidence
        if row.low is None:
            assert not significant
        else:
            assert significant == (not row.low <= 0 <= row.high)
            assert row.low <= row.value <= row.high
        assert 1 / (permutations + 1) <= row.p_value <= row.p_adjusted <= 1


def test_the_p_value_is_scipys_within_monte_carlo_error():
    generator = np.random.default_rng(5)
    a = generator.normal(size=60)
    b = a + generator.normal(0.35, 1.0, size=60)
    ours = compared((a - b)[:, np.newaxis], permutations=20_000)[0]
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
    assert ours.p_value == pytest.approx(theirs, abs=slack)
    assert ours.p_adjusted == ours.p_value


def test_the_interval_of_a_single_row_is_that_of_the_t_test_for_normal_differences():
    differences = np.random.default_rng(6).normal(0.3, 1.0, size=(400, 1))
    row = compared(differences, permutations=50_000)[0]
    theirs = stats.ttest_1samp(differences[:, 0], 0).confidence_interval(0.95)
    # The standard error of a 5 % quantile from 50,000 flips is 0.008 standard errors of the mean.
    assert (row.low, row.high) == pytest.approx(tuple(theirs), abs=5 * 0.008 * 0.05)


def test_the_p_value_counts_ties_and_approaches_the_exact_one():
    differences = np.array([0.1, 0.2, 0.3, -0.1, 0.2, 0.1])
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=6)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-9 for total in flipped])
    ours = compared(differences[:, np.newaxis], permutations=20_000)[0].p_value
    assert ours == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000))


def test_equal_systems_have_a_p_value_of_one_and_an_empty_interval():
    equal, other = compared(np.column_stack([np.zeros(30), np.arange(30) + 20.0]))
    assert (equal.value, equal.low, equal.high, equal.p_value, equal.p_adjusted) == (0, 0, 0, 1, 1)
    assert other.p_adjusted == pytest.approx(0.001)
    assert [row.p_adjusted for row in compared(np.zeros((30, 2)))] == [1.0, 1.0]


def test_a_constant_difference_has_an_empty_interval_beside_zero():
    row = compared(np.full((50, 1), 0.1))[0]
    assert (row.low, row.high) == (row.value, row.value)
    assert row.p_value == pytest.approx(0.001)


def test_one_dialogue_bounds_nothing():
    row = compared([[0.4]])[0]
    assert (row.value, row.low, row.high, row.p_value, row.p_adjusted) == (0.4, None, None, 1.0, 1.0)


def test_too_few_flips_for_the_level_find_nothing():
    row = compared(np.ones((50, 1)), permutations=9, confidence=0.95)[0]
    assert (row.low, row.high, row.p_adjusted) == (None, None, 0.1)


def test_the_scale_of_a_column_does_not_matter():
    differences = np.random.default_rng(2).normal(0.1, 1.0, size=(50, 3))
    rows, scaled = compared(differences), compared(differences * [1.0, 2.0**80, 2.0**-80])
    assert p_values(rows)[1] == pytest.approx(p_values(scaled)[1])
    assert [row.low for row in scaled] == pytest.approx([rows[0].low, rows[1].low * 2.0**80, rows[2].low * 2.0**-80])


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    differences = np.random.default_rng(2).normal(0.1, 1.0, size=(50, 3))
    assert compared(differences, seed=1) == compared(differences, seed=1) != compared(differences, seed=2)


def test_blocks_of_flips_do_not_change_the_result(monkeypatch):
    differences = np.random.default_rng(2).normal(0.3, 1.0, size=(64, 3))
    whole = compared(differences)
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 64 * 8)
    small = compared(differences)
    # The same draws if they come in multiples of what the generator makes at once; sums may differ in the last bits.
    assert p_values(small)[1] == pytest.approx(p_values(whole)[1])
    assert [row.low for row in small] == pytest.approx([row.low for row in whole])


def test_a_wide_table_holds_no_more_cells_than_allowed(monkeypatch):
    monkeypatch.setattr(resampling, "_CHUNK_CELLS", 90)
    assert [len(signs) for signs in resampling.sign_flips(3, 7, seed=1, columns=30)] == [3, 3, 1]


def test_columns_that_repeat_each_other_cost_nothing():
    single = np.random.default_rng(3).normal(0.3, 1.0, size=(60, 1))
    one, many = compared(single), compared(np.repeat(single, 40, axis=1))
    assert {row.p_adjusted for row in many} == {one[0].p_adjusted}
    assert (many[0].low, many[0].high) == pytest.approx((one[0].low, one[0].high))


def test_independent_columns_are_corrected_as_holm_does():
    permutations = 20_000
    means = np.repeat([0.0, 0.2], 10)
    rows = compared(np.random.default_rng(4).normal(means, 1.0, size=(400, 20)), permutations)
    alone, adjusted = p_values(rows)
    theirs = holm(alone)
    small = theirs < 0.1
    assert small.sum() > 5
    # Holm's bound on the probability of a union is the sum, which for independent tests is too high by less than its
    # half square; the Monte Carlo error of p is multiplied with up to 20.
    slack = theirs**2 / 2 + 5 * np.sqrt(20 * theirs / permutations)
    assert np.all(abs(adjusted - theirs)[small] <= slack[small])
    assert np.array_equal(adjusted < 0.05, theirs < 0.05)


EXPERIMENTS = 250
SLACK = 3 * np.sqrt(0.05 * 0.95 / EXPERIMENTS)
"""Three standard errors of a rate of 5 %; `benchmarks/simultaneous.py` makes more experiments."""


@pytest.mark.parametrize(
    "truth",
    [
        Truth("all equal", (0.0,) * 5, dialogues=60),
        Truth("one far worse", (-0.2, 0.0, 0.0, 0.0, 0.0), dialogues=60),
        Truth("other shapes", (0.0,) * 5, dialogues=60, skewed=True),
    ],
    ids=lambda truth: truth.title,
)
def test_false_alarms_are_no_more_frequent_than_stated_and_intervals_cover_together(truth):
    rates = simulate(truth, EXPERIMENTS, seed=1)
    assert rates["alarms.max_t"] <= 0.05 + SLACK
    assert rates["alarms.uncorrected"] > 0.2
    assert rates["covered.intervals"] >= 0.95 - SLACK
    assert rates["covered.single"] < 0.8
    assert rates["least"] >= 0.95 - SLACK


def test_more_is_found_than_by_holm_where_metrics_go_together():
    rates = simulate(Truth("a little apart", (0.0, 0.02, 0.04, 0.06, 0.08), dialogues=60), 60, seed=1)
    assert rates["found.max_t"] > rates["found.holm"] + 0.02
    assert rates["found.max_t"] >= rates["found.first_step"]
