from summtune.evaluator.verdict import verdict


def row(a, b, difference, low, high, p_value, metric="rouge1"):
    fields = {"difference": difference, "ci_low": low, "ci_high": high, "p_value": p_value}
    return {"a": a, "b": b, "metric": metric} | fields


def comparison(*rows, baseline="Original", confidence=0.95, values=()):
    systems = [{"name": name, "metrics": {"rouge1": {"value": value}}} for name, value in values]
    protocol = {"bootstrap": {"confidence": confidence}}
    return {"differences": list(rows), "baseline": baseline, "systems": systems, "protocol": protocol}


def test_a_real_gain_is_a_win():
    assert verdict(comparison(row("LoRA", "Original", 0.175, 0.156, 0.194, 0.0001))) == [
        "LoRA beats Original by 17.5 ROUGE-1 (95% interval 15.6 to 19.4, p < 0.001)."
    ]


def test_a_real_loss_is_told_with_positive_numbers():
    assert verdict(comparison(row("LoRA", "Original", -0.02, -0.031, -0.009, 0.002), confidence=0.9)) == [
        "LoRA is worse than Original by 2.0 ROUGE-1 (90% interval 0.9 to 3.1, p = 0.002)."
    ]


def test_no_clear_difference_is_no_win():
    assert verdict(comparison(row("LoRA", "Original", 0.004, -0.01, 0.02, 0.6))) == [
        "LoRA is not distinguishable from Original: +0.4 ROUGE-1 (95% interval −1.0 to 2.0, p = 0.600)."
    ]


def test_interval_and_p_value_must_agree():
    for low, p_value in ((0.001, 0.06), (-0.001, 0.04)):
        assert "not distinguishable" in verdict(comparison(row("a", "Original", 0.01, low, 0.02, p_value)))[0]


def test_without_a_baseline_the_best_system_is_set_against_each_other_one():
    rows = [
        row("b", "a", 0.2, 0.1, 0.3, 0.0001),
        row("c", "a", 0.1, 0.05, 0.15, 0.0001),
        row("c", "b", -0.1, -0.2, -0.05, 0.001),
    ]
    sentences = verdict(comparison(*rows, baseline=None, values=[("a", 0.1), ("b", 0.3), ("c", 0.2)]))
    assert sentences == [
        "b beats a by 20.0 ROUGE-1 (95% interval 10.0 to 30.0, p < 0.001).",
        "b beats c by 10.0 ROUGE-1 (95% interval 5.0 to 20.0, p = 0.001).",
    ]


def test_only_the_first_metric_speaks():
    rows = [row("a", "Original", 0.2, 0.1, 0.3, 0.0001), row("a", "Original", 0.2, 0.1, 0.3, 0.0001, metric="rouge2")]
    assert len(verdict(comparison(*rows))) == 1


def test_one_dialogue_decides_nothing():
    assert verdict(comparison(row("a", "Original", 0.2, None, None, 1.0))) == [
        "One dialogue cannot tell a from Original."
    ]


def test_nothing_to_compare_gives_no_sentence():
    assert verdict(comparison()) == []
