from made_up_results import compared_system, difference, estimate
from made_up_results import comparison as made_up_comparison

from summtune.evaluator.verdict import not_distinguishable_from_best, verdict

VALUES = {"Original": 0.2, "LoRA": 0.375, "full": 0.384}


LORA = difference("LoRA", "Original", 0.175, 0.156, 0.194, 0.0001)
FULL = difference("full", "Original", 0.184, 0.165, 0.205, 0.0001)


def compared(*rows, baseline="Original", confidence=0.95, values=None, metric="rouge1"):
    names = dict.fromkeys(name for each in rows for name in (each.b, each.a)) or ("Original", "LoRA")
    systems = [compared_system(name, {metric: estimate((values or VALUES).get(name, 0.2))}) for name in names]
    return made_up_comparison(systems, rows, baseline, confidence)


def test_a_significant_gain_beats():
    assert verdict(compared(LORA)) == ("LoRA beats Original by 17.5 ± 1.9 ROUGE-1 (p < 0.001).",)


def test_each_system_is_compared_with_the_baseline_and_then_with_the_best():
    close = difference("full", "LoRA", 0.009, -0.002, 0.02, 0.12)
    assert verdict(compared(LORA, FULL, close)) == (
        "LoRA beats Original by 17.5 ± 1.9 ROUGE-1 (p < 0.001); "
        "it is not distinguishable from full: −0.9 ± 1.1 (p = 0.120).",
        "full beats Original by 18.4 ± 2.0 ROUGE-1 (p < 0.001); no other system scores higher.",
        "Not distinguishable from the best, full: LoRA.",
    )


def test_a_system_significantly_behind_the_best_is_beaten_by_it():
    clear = difference("full", "LoRA", 0.009, 0.004, 0.014, 0.002)
    assert verdict(compared(LORA, FULL, clear))[0].endswith("; full beats it by 0.9 ± 0.5 (p = 0.002).")


def test_nothing_is_added_if_the_baseline_is_the_best():
    values = {"Original": 0.5, "a": 0.4, "b": 0.3}
    rows = [
        difference("a", "Original", -0.1, -0.12, -0.08, 0.0001),
        difference("b", "Original", -0.2, -0.22, -0.18, 0.0001),
    ]
    assert verdict(compared(*rows, difference("b", "a", -0.1, -0.12, -0.08, 0.0001), values=values)) == (
        "a is worse than Original by 10.0 ± 2.0 ROUGE-1 (p < 0.001).",
        "b is worse than Original by 20.0 ± 2.0 ROUGE-1 (p < 0.001).",
    )


def test_an_insignificant_difference_is_not_distinguishable():
    assert verdict(compared(difference("LoRA", "Original", 0.004, -0.01, 0.02, 0.6))) == (
        "LoRA is not distinguishable from Original: +0.4 ± 1.5 ROUGE-1 (p = 0.600).",
    )


def test_the_level_is_one_minus_the_confidence():
    assert "beats" in verdict(compared(difference("a", "Original", 0.01, 0.001, 0.02, 0.06), confidence=0.9))[0]


def test_a_rounding_does_not_hide_on_which_side_of_zero_the_interval_is():
    assert verdict(compared(difference("a", "Original", -0.0232, -0.0462, -0.0002, 0.04))) == (
        "a is worse than Original by 2.32 ± 2.30 ROUGE-1 (p = 0.040).",
    )
    assert verdict(compared(difference("a", "Original", 0.0232, -0.0001, 0.0465, 0.06))) == (
        "a is not distinguishable from Original: +2.3 ± 2.3 ROUGE-1 (p = 0.060).",
    )


def test_without_a_baseline_the_best_system_is_compared_with_each_other_one():
    rows = [
        difference("b", "a", 0.2, 0.1, 0.3, 0.0001),
        difference("c", "a", 0.1, 0.05, 0.15, 0.0001),
        difference("c", "b", -0.1, -0.2, -0.05, 0.001),
    ]
    assert verdict(compared(*rows, baseline=None, values={"a": 0.1, "b": 0.3, "c": 0.2})) == (
        "b beats a by 20.0 ± 10.0 ROUGE-1 (p < 0.001).",
        "b beats c by 10.0 ± 7.5 ROUGE-1 (p = 0.001).",
    )


def test_the_verdict_uses_only_the_first_metric():
    assert len(verdict(compared(LORA, LORA.model_copy(update={"metric": "rouge2"})))) == 1


def test_one_dialogue_gives_no_verdict():
    rows = [difference("LoRA", "Original", 0.2, None, None, 1.0), difference("full", "Original", 0.2, None, None, 1.0)]
    made = compared(*rows, difference("full", "LoRA", 0.1, None, None, 1.0)).model_copy(update={"n": 1})
    assert verdict(made) == (
        "one dialogue cannot tell LoRA from Original; nor from full.",
        "one dialogue cannot tell full from Original; no other system scores higher.",
    )


def test_a_few_dialogues_may_be_too_few_for_an_interval():
    made = compared(difference("LoRA", "Original", 0.2, None, None, 1.0)).model_copy(update={"n": 3})
    assert verdict(made) == ("3 dialogues cannot tell LoRA from Original.",)


def test_the_verdict_says_if_nothing_can_be_tested():
    assert verdict(compared()) == ("Nothing can be tested: the systems share no score of single dialogues.",)


def test_the_systems_that_may_be_the_best_are_those_not_distinguishable_from_it():
    close = difference("full", "LoRA", 0.009, -0.002, 0.02, 0.12)
    assert not_distinguishable_from_best(compared(LORA, FULL, close)) == ("LoRA", "full")
    clear = difference("full", "LoRA", 0.009, 0.004, 0.014, 0.002)
    assert not_distinguishable_from_best(compared(LORA, FULL, clear)) == ("full",)
    assert not_distinguishable_from_best(compared(LORA, FULL, close, baseline=None)) == ("LoRA", "full")


def test_a_system_whose_difference_from_the_best_has_no_interval_may_be_the_best():
    assert not_distinguishable_from_best(compared(difference("LoRA", "Original", 0.2, None, None, 1.0))) == (
        "Original",
        "LoRA",
    )


def test_no_system_is_known_to_be_the_best_if_nothing_can_be_tested():
    assert not_distinguishable_from_best(compared()) == ()


def test_the_lower_error_rate_wins():
    rows = [
        difference("a", "Original", -0.2, -0.3, -0.1, 0.0001, "wer"),
        difference("b", "Original", 0.2, 0.1, 0.3, 0.0001, "wer"),
        difference("b", "a", 0.4, 0.3, 0.5, 0.0001, "wer"),
    ]
    values = {"Original": 0.5, "a": 0.3, "b": 0.7}
    assert verdict(compared(*rows, values=values, metric="wer")) == (
        "a beats Original by 0.200 ± 0.100 wer (p < 0.001); no other system scores lower.",
        "b is worse than Original by 0.200 ± 0.100 wer (p < 0.001); a beats it by 0.400 ± 0.100 (p < 0.001).",
    )


CLOSE = difference("full", "LoRA", 0.009, -0.002, 0.02, 0.12)


def with_costs(made, **costs):
    """The comparison with costs of systems, by name; a system with money for training is trained."""
    systems = [
        each.model_copy(
            update={
                "cost": each.cost.model_copy(update=costs.get(each.name, {})),
                "kind": "train" if costs.get(each.name, {}).get("training_money") else "prompt",
            }
        )
        for each in made.systems
    ]
    return made.model_copy(update={"systems": tuple(systems)})


def money(per_1000, currency="USD", training=0.0):
    return {"money_per_1000_dialogues": per_1000, "currency": currency, "training_money": training}


def test_the_cheapest_of_the_systems_that_may_be_the_best_is_named():
    made = with_costs(compared(LORA, FULL, CLOSE), Original=money(0.01), LoRA=money(0.04), full=money(0.03))
    assert verdict(made)[-1] == (
        "Not distinguishable from the best, full: LoRA. The cheaper of the two is full: 0.0300 USD per 1,000 dialogues."
    )
    trained = with_costs(compared(LORA, FULL, CLOSE), LoRA=money(0.02, training=1.0), full=money(0.03))
    assert verdict(trained)[-1].endswith("is LoRA: 0.0200 USD per 1,000 dialogues, training aside.")


def test_all_systems_may_be_the_best():
    zero = difference("Original", "full", -0.184, -0.4, 0.1, 0.2)
    costs = {"Original": money(0.5), "LoRA": money(0.6), "full": money(0.7)}
    assert verdict(with_costs(compared(LORA, zero, CLOSE), **costs))[-1] == (
        "Not distinguishable from the best, full: Original, LoRA. The cheapest of these 3 is Original: 0.500 USD per "
        "1,000 dialogues."
    )


def test_a_cheapest_system_is_named_only_where_the_costs_of_all_of_them_are_known():
    for costs in ({"LoRA": money(0.04)}, {"LoRA": money(0.04), "full": money(0.03, "EUR")}):
        assert verdict(with_costs(compared(LORA, FULL, CLOSE), **costs))[-1].endswith("the best, full: LoRA.")


def test_of_two_systems_with_unknown_costs_nothing_is_repeated():
    tied = compared(difference("LoRA", "Original", 0.004, -0.01, 0.02, 0.6))
    assert len(verdict(tied)) == 1
    assert verdict(with_costs(tied, LoRA=money(2.0), Original=money(1.0)))[1:] == (
        "Not distinguishable from the best, LoRA: Original. The cheaper of the two is Original: 1.00 USD per 1,000 "
        "dialogues.",
    )


def test_where_one_system_is_the_best_no_cheapest_is_named():
    assert len(verdict(with_costs(compared(LORA), LoRA=money(2.0), Original=money(1.0)))) == 1


def test_too_few_dialogues_for_an_interval_name_no_cheapest():
    made = compared(difference("LoRA", "Original", 0.2, None, None, 1.0)).model_copy(update={"n": 3})
    assert len(verdict(with_costs(made, LoRA=money(2.0), Original=money(1.0)))) == 1
