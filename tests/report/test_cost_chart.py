import re
import xml.etree.ElementTree as ET

import pytest
from made_up_results import anchor, compared_system, estimate

from summtune.report.cost_chart import cost_svg, cost_table, shown_metric, use_table


def system(name, trainable=0, hours=0.0, memory=None, size=0, **metrics):
    estimates = {key: estimate(value, value - 0.02, value + 0.02) for key, value in metrics.items()}
    cost = {"training_device_hours": hours, "devices": 1, "peak_memory_bytes": memory, "size_bytes": size}
    return compared_system(name, estimates or {"rouge1": ROUGE}, trainable, 250_000_000, **cost)


ROUGE = estimate(0.4, 0.38, 0.42)
GIB = 1024**3
STORY = (
    system("Original"),
    system("Full fine-tuning", 247_577_856, 1.75, 20 * GIB, 990_345_472),
    system("LoRA", 3_538_944, 1.2, 9 * GIB, 14_175_744),
)
EXTERNAL = compared_system("theirs", {"rouge1": ROUGE})


def texts(svg):
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_cost_has_a_panel_with_one_point_per_system():
    svg = cost_svg(STORY, hours="GPU-hours")
    shown = texts(svg)
    assert {"Trained parameters", "GPU-hours", "Peak memory per device", "Size on disk", "ROUGE-1"} <= set(shown)
    assert {"Original", "Full fine-tuning", "LoRA"} <= set(shown)
    # Three panels with three points and one with the two whose memory is known, and the legend.
    assert len(re.findall(r"<use [^>]*fill: #0072b2", svg)) == 3 + 1
    assert len(re.findall(r"<use [^>]*fill: #e69f00", svg)) == 4 + 1


def test_zero_has_a_position_on_a_logarithmic_axis():
    shown = texts(cost_svg(STORY))
    assert shown.count("log") == 2  # parameters and size; hours and memory are too near each other
    assert {"0", "10 M", "100 M", "100 MiB"} <= set(shown)


def test_a_cost_that_fewer_than_two_systems_have_gets_no_panel():
    svg = cost_svg([system("Original"), system("LoRA", 3_538_944, memory=GIB), EXTERNAL])
    assert "Trained parameters" in texts(svg)
    assert not {"Peak memory per device", "Device-hours", "Size on disk"} & set(texts(svg))


def test_money_of_one_currency_is_a_panel():
    def priced(each, money, currency="USD"):
        cost = each.cost.model_copy(update={"money_per_1000_dialogues": money, "currency": currency})
        return each.model_copy(update={"cost": cost})

    usd = [priced(STORY[0], 1.5), priced(STORY[1], 0.02), STORY[2]]
    assert {"USD per 1,000", "dialogues"} <= set(texts(cost_svg(usd)))  # five panels have titles of two lines
    assert "per 1,000" not in str(texts(cost_svg([usd[0], priced(STORY[1], 0.02, "EUR")])))


@pytest.mark.parametrize(
    "systems",
    [
        [EXTERNAL, EXTERNAL.model_copy(update={"name": "ours"})],
        [system("zero-shot"), system("one-shot")],
        [STORY[1]],
        [system("a", 5, bleu=0.3), system("b", 7, rouge1=0.3)],
    ],
)
def test_without_two_points_to_compare_there_is_no_chart(systems):
    assert cost_svg(systems) is None


def test_the_cost_chart_names_floor_and_ceiling():
    shown = texts(cost_svg(STORY, floor=anchor("lead-3", rouge1=0.4), ceiling=anchor("human agreement", rouge1=0.4)))
    assert {"lead-3 (floor)", "human agreement (ceiling)"} <= set(shown)
    assert "lead-3 (floor)" not in texts(cost_svg(STORY, floor=anchor("lead-3", bleu=0.1)))


def test_scores_without_interval_are_drawn():
    bare = {"metrics": {"rouge1": estimate()}}
    assert "LoRA" in texts(cost_svg([each.model_copy(update=bare) for each in STORY]))


def test_the_cost_chart_shows_the_first_metric_that_two_systems_have():
    systems = [system("a", bleu=0.3, rouge1=0.4), system("b", rouge1=0.4, rouge2=0.2)]
    assert shown_metric(systems) == "rouge1"


@pytest.mark.parametrize("value", [1e-9, 0.5, 1, 7, 999, 2.4e8, 6.5e11])
def test_costs_of_any_size_have_ticks(value):
    for other in (value, 2 * value, 1000 * value):
        systems = [
            system("a", int(value), float(value), int(value) + 1, int(value) + 1),
            system("b", int(other), float(other), 5, 5),
        ]
        assert "Device-hours" in texts(cost_svg(systems))


def test_the_cost_table_has_a_dash_for_unknown_costs():
    table = cost_table([*STORY, EXTERNAL], hours="GPU-hours")
    assert table.header == ("System", "GPU-hours", "Peak memory per device", "Size on disk")
    assert table.rows == (
        ("Original", "0", "–", "0"),
        ("Full fine-tuning", "1.75", "20 GiB", "944.5 MiB"),
        ("LoRA", "1.2", "9 GiB", "13.5 MiB"),
        ("theirs", "–", "–", "–"),
    )
    assert cost_table([EXTERNAL]) is None


def test_the_table_of_use_has_only_what_is_known():
    timed = compared_system(
        "LoRA",
        trainable=5,
        total=9,
        dialogues=400,
        prompt_tokens=1001,
        generated_tokens=7,
        generation_device_hours=0.01,
    )
    table = use_table([timed, EXTERNAL], hours="GPU-hours")
    assert table.header == ("System", "Prompt tokens per 1,000", "Generated tokens per 1,000", "GPU-hours per 1,000")
    assert table.rows == (("LoRA", "2,502", "18", "0.0250"), ("theirs", "–", "–", "–"))
    assert use_table([EXTERNAL]) is None
