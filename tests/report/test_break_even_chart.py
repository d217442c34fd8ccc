import re
import xml.etree.ElementTree as ET

import pytest

from summtune.report.break_even import Line
from summtune.report.break_even_chart import break_even_svg


def texts(svg):
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def prompted(name, each, place=0):
    return Line(place, name, "prompt", 0.0, each)


def trained(name, once, each, place=1):
    return Line(place, name, "train", once, each)


def test_both_lines_are_drawn_and_their_crossing_is_marked():
    svg = break_even_svg("USD", [prompted("API", 0.002), trained("LoRA", 1.0, 0.001)])
    shown = texts(svg)
    assert {"API", "LoRA", "dialogues", "USD, training included"} <= set(shown)
    assert "1,000" in shown  # the crossing, at the middle of an axis to 2,000
    assert "2,000" in shown
    for colour in ("#0072b2", "#e69f00"):
        assert len(re.findall(rf'style="fill: none; stroke: {colour}', svg)) == 2  # the line and its legend


def test_crossings_far_apart_are_on_logarithmic_axes():
    lines = [prompted("cheap", 0.0011), prompted("dear", 0.1, 2), trained("LoRA", 10.0, 0.001)]
    shown = texts(break_even_svg("EUR", lines))
    assert {"102", "100,000", "1,000", "10,000", "1,000,000"} <= set(shown)


def test_lines_that_never_cross_are_drawn_to_where_using_costs_as_much_as_training():
    shown = texts(break_even_svg("USD", [prompted("API", 0.001), trained("LoRA", 8.0, 0.002)]))
    assert {"8,000", "LoRA"} <= set(shown)


def test_systems_that_cost_nothing_are_drawn():
    assert "1,000" in texts(break_even_svg("USD", [prompted("free", 0.0), trained("also free", 0.0, 0.0)]))
    lines = [prompted("a", 1.0), prompted("b", 1e-6, 3), prompted("free", 0.0, 2), trained("LoRA", 1.0, 0.0)]
    assert "free" in texts(break_even_svg("USD", lines))


@pytest.mark.parametrize("once", [1e-12, 3.0, 1e17])
def test_amounts_of_any_size_are_drawn(once):
    lines = [prompted("API", once / 7), prompted("other", once / 1e6, 2), trained("LoRA", once, once / 1e9)]
    assert "LoRA" in texts(break_even_svg("USD", lines))
