import pytest

from summtune.base import numbers


@pytest.mark.parametrize(
    ("name", "title"),
    [("rouge1", "ROUGE-1"), ("rougeLsum", "ROUGE-Lsum"), ("bertscore.f1", "bertscore.f1"), ("rouge_w", "rouge_w")],
)
def test_metric_titles(name, title):
    assert numbers.metric_title(name) == title


def test_rouge_is_shown_times_100_and_other_metrics_on_their_own_scale():
    assert numbers.score("rouge1", 0.47349) == "47.3"
    assert numbers.score("bertscore.f1", 0.91249) == "0.912"


@pytest.mark.parametrize(
    ("value", "text"), [(0.175, "+17.5"), (-0.003, "−0.3"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0")]
)
def test_differences_carry_their_sign_and_zero_has_none(value, text):
    assert numbers.difference("rouge1", value) == text


def test_intervals_are_shown_as_range_or_half_width():
    assert numbers.interval("rouge1", 0.156, 0.194) == "15.6 to 19.4"
    assert numbers.interval("rouge1", None, None) == "–"
    assert numbers.with_half_width("rouge1", 0.473, 0.451, 0.495) == "47.3 ± 2.2"
    assert numbers.with_half_width("corpus", 0.25, None, None) == "0.250"


def test_an_end_of_an_interval_that_is_not_zero_is_not_shown_as_zero():
    assert numbers.difference_interval("rouge1", 0.156, 0.194) == "15.6 to 19.4"
    assert numbers.difference_interval("rouge1", 0.00013, 0.04) == "0.01 to 4.0"
    assert numbers.difference_interval("rouge1", -0.04, -0.00004) == "−4.0 to −0.004"
    assert numbers.difference_interval("bertscore", -0.04, 0.0) == "−0.040 to 0.000"
    assert numbers.difference_interval("rouge1", None, None) == "–"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-0.023, -0.043, -0.003, "−2.3 ± 2.0"),
        (0.0232, 0.0002, 0.0462, "+2.32 ± 2.30"),
        (0.0226, -0.0008, 0.046, "+2.3 ± 2.3"),
        (0.0225, -0.0001, 0.0451, "+2.2 ± 2.3"),
        (0.0, 0.0, 0.0, "0.0 ± 0.0"),
        (0.5, 0.5, 0.5, "+50.0 ± 0.0"),
    ],
)
def test_a_difference_is_shown_larger_than_half_its_interval_only_if_that_excludes_zero(value, low, high, text):
    assert numbers.difference_with_half_width("rouge1", value, low, high) == text


@pytest.mark.parametrize(("value", "text"), [(0.0001, "p < 0.001"), (0.001, "p = 0.001"), (0.0344, "p = 0.034")])
def test_p_values_have_three_decimals(value, text):
    assert numbers.p_value(value) == text


def test_counts_have_separators_and_shares_three_significant_digits():
    assert numbers.count(247_577_856) == "247,577,856"
    assert numbers.parameters(3_538_944, 251_116_800) == "3,538,944 (1.41 %)"
    assert numbers.parameters(0, 10) == "0"
    assert numbers.share(10, 10) == "100 %"
    assert numbers.share(0, 0) == "–"
    assert numbers.share(9999, 10_000) == "99.9 %"
    assert numbers.share(1, 10**8) == "< 0.001 %"
    assert numbers.percent(0.95) == "95%"


@pytest.mark.parametrize(("value", "text"), [(23.4123, "23.41"), (1466.4, "1,466"), (0.00012, "0.00012"), (3.0, "3")])
def test_decimals_have_four_significant_digits(value, text):
    assert numbers.decimal(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (42, "42 s"),
        (59.7, "1 min 00 s"),
        (725, "12 min 05 s"),
        (3599.6, "1 h 00 min"),
        (11220, "3 h 07 min"),
    ],
)
def test_durations_have_at_most_two_units(seconds, text):
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (1536, "1.5 KiB"), (1610612736, "1.5 GiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_are_in_binary_units(size, text):
    assert numbers.size(size) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.00201, "0.2 %"), (0.1149, "11 %"), (0.0, "0 %"), (0.099, "9.9 %"), (0.996, "100 %")]
)
def test_rates_have_two_significant_digits(value, text):
    assert numbers.rate(value) == text


def test_lower_is_better_for_error_rates():
    assert numbers.is_lower_better("wer")
    assert numbers.is_lower_better("perplexity.mean_perplexity")
    assert not numbers.is_lower_better("rouge1")
    assert not numbers.is_lower_better("bertscore.f1")


def test_names_with_a_comma_are_listed_between_semicolons():
    assert numbers.listed(["Original", "LoRA"]) == "Original, LoRA"
    assert numbers.listed(name for name in ("Original", "LoRA, seed 1")) == "Original; LoRA, seed 1"


@pytest.mark.parametrize(("value", "text"), [(0, "0 rows"), (1, "1 row"), (1200, "1,200 rows")])
def test_a_count_agrees_with_its_noun(value, text):
    assert numbers.counted(value, "row") == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 USD"), (0.00421, "0.00421 USD"), (0.5, "0.500 USD"), (1, "1.00 USD"), (999.5, "999.50 USD"),
        (12_345.6, "12,346 USD"), (0.000000123, "0.000000123 USD"),
    ],
)  # fmt: skip
def test_money_has_a_currency_and_enough_digits(value, shown):
    assert numbers.money(value, "USD") == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1"), (689, "689"), (12_817, "12,800"), (999_600, "1,000,000"), (4_038_461, "4,040,000")]
)
def test_a_count_is_rounded_to_three_digits(value, shown):
    assert numbers.about(value) == shown
