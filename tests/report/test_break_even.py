"""Break-evens, computed by hand."""

import pytest
from made_up_results import compared_system

from summtune.report.break_even import Line, break_even, crossings


def priced(name, training, per_1000, currency="USD", **cost):
    """A system with money; one whose training costs something is trained."""
    cost |= {"currency": currency, "training_money": training, "money_per_1000_dialogues": per_1000}
    cost |= {"money": training + per_1000}
    return compared_system(name, trainable=int(training > 0), total=9, **cost)


def timed(name, training, generation, device="cuda", **cost):
    cost |= {"training_device_hours": training, "generation_device_hours": generation, "device": device}
    return compared_system(name, trainable=int(training > 0), total=9, dialogues=500, **cost)


API = priced("GPT-4o mini, few-shot", 0.0, 0.1392)
LORA = priced("LoRA", 1.25, 1.25 / 30)


def test_the_example_of_the_docs():
    # 1.25 / (0.0001392 − 0.0000416667) = 12,816.1
    found = break_even([API, LORA])
    assert found.sentences == (
        "From about 12,800 dialogues on, LoRA costs less than GPT-4o mini, few-shot: 1,000 dialogues cost 0.0417 USD "
        "instead of 0.139 USD, and training 1.25 USD.",
    )
    (each,) = crossings(found.lines["USD"])
    assert each.dialogues == pytest.approx(12_816.1, abs=0.1)
    assert each.trained.total(each.dialogues) == pytest.approx(each.prompted.total(each.dialogues))


def test_the_first_dialogue_that_is_cheaper_comes_after_the_break_even():
    found = break_even([priced("API", 0.0, 2.0), priced("LoRA", 1.0, 1.0)])
    # Both cost 2 after 1,000 dialogues.
    assert found.sentences[0].startswith("From about 1,000 dialogues on, LoRA costs less than API")
    (each,) = crossings(found.lines["USD"])
    assert each.dialogues == pytest.approx(1000)


@pytest.mark.parametrize("per_1000", [0.1392, 0.2])
def test_a_system_whose_dialogues_cost_as_much_or_more_never_costs_less(per_1000):
    (sentence,) = break_even([API, priced("LoRA", 1.25, per_1000)]).sentences
    assert sentence.startswith("LoRA never costs less than GPT-4o mini, few-shot: ")
    assert "instead of 0.139 USD, and training 1.25 USD." in sentence


@pytest.mark.parametrize(("per_1000", "is_open"), [(0.130, True), (0.126, False), (0.14, False)])
def test_a_saving_within_the_noise_of_a_measurement_is_none(per_1000, is_open):
    # 0.1392 is 7 % more than 0.130, and 10.5 % more than 0.126.
    (sentence,) = break_even([API, priced("LoRA", 1.25, per_1000)]).sentences
    assert sentence.startswith("It is open whether LoRA ever costs less than GPT-4o mini, few-shot: ") is is_open
    assert sentence.endswith("and training 1.25 USD. Measured times vary by more than that.") is is_open


def test_a_saving_that_no_number_of_dialogues_brings_back_is_none():
    assert "never" in break_even([priced("API", 0.0, 1.0), priced("LoRA", 1e18, 0.5)]).sentences[0]


def test_a_training_that_costs_nothing_pays_from_the_first_dialogue_on():
    trained = LORA.model_copy(update={"cost": LORA.cost.model_copy(update={"training_money": 0.0})})
    (sentence,) = break_even([API, trained]).sentences
    assert sentence.startswith("LoRA costs less than GPT-4o mini, few-shot from the first dialogue on: ")


def test_every_trained_system_is_compared_with_every_prompted_one():
    systems = [API, LORA, priced("Zero-shot", 0.0, 0.06), priced("Full", 10.0, 0.03)]
    pairs = [(each.trained.name, each.prompted.name) for each in crossings(break_even(systems).lines["USD"])]
    assert pairs == [
        ("LoRA", API.name), ("LoRA", "Zero-shot"), ("Full", API.name), ("Full", "Zero-shot"),
    ]  # fmt: skip


def test_currencies_are_not_compared():
    found = break_even([API, priced("LoRA", 1.25, 0.04, "EUR")])
    assert (found.lines, found.sentences) == ({}, ())
    assert found.notes == ("Money in USD and EUR is neither added nor compared; give all prices in one currency.",)


def test_systems_without_money_are_named():
    found = break_even([API, LORA, compared_system("GPT-4 (published)")])
    assert found.notes == ("The money of GPT-4 (published) is unknown.",)
    assert [line.name for line in found.lines["USD"]] == [API.name, "LoRA"]


def test_without_money_hours_of_the_same_device_are_compared_in_words():
    # 0.5 / ((0.5 − 0.1) / 500) = 625
    found = break_even([timed("Zero-shot", 0.0, 0.5), timed("LoRA", 0.5, 0.1)], "GPU-hours")
    assert found.lines == {}
    assert found.sentences == (
        "From about 626 dialogues on, LoRA takes fewer GPU-hours than Zero-shot: 1,000 dialogues take 0.200 GPU-hours "
        "instead of 1 GPU-hours, and training 0.500 GPU-hours.",
    )
    assert break_even([timed("Zero-shot", 0.0, 0.5, "cpu"), timed("LoRA", 0.5, 0.1)]) is None
    assert break_even([timed("Zero-shot", 0.0, 0.5, None), timed("LoRA", 0.5, 0.1, None)]) is None


def test_hours_are_not_compared_where_one_system_has_money():
    assert break_even([API, timed("LoRA", 0.5, 0.1), timed("Zero-shot", 0.0, 0.5)]).sentences == ()


def test_a_stage_that_another_run_did_is_named():
    maker = "outputs/lora-1a2b3c4d"
    found = break_even([API, priced("LoRA, 4 beams", 1.25, 0.04, training_made_by=maker)])
    assert found.notes == (f"The training of LoRA, 4 beams was done once, by {maker}, and has the cost of that run.",)


def test_nothing_is_said_of_costs_that_nobody_knows():
    assert break_even([compared_system("theirs"), compared_system("ours")]) is None


def test_the_total_is_training_and_so_many_dialogues():
    assert Line(0, "LoRA", "train", 1.5, 0.25).total(10) == 4.0
