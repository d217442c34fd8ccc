import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest
from made_up_results import anchor, compared_system, estimate

from summtune.report import chart
from summtune.runs.statistics import TrainLogRow


def system(name, value=0.4, low=0.35, high=0.46, metrics=("rouge1", "rougeL")):
    return compared_system(name, {metric: estimate(value, low, high) for metric in metrics})


def log_row(step, **losses):
    return TrainLogRow(step=step, epoch=1.0, **losses)


def texts(svg):
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_chart_contains_names_metrics_and_values_as_text():
    shown = texts(chart.scores_svg([system("Original"), system("LoRA", 0.5731)]))
    assert {"Original", "LoRA", "ROUGE-1", "ROUGE-L", "40.0", "57.3"} <= set(shown)


def test_charts_of_the_same_scores_have_the_same_bytes():
    systems = [system("Original"), system("LoRA")]
    assert chart.scores_svg(systems) == chart.scores_svg(systems)
    assert chart.scores_png(systems, dots_per_inch=60) == chart.scores_png(systems, dots_per_inch=60)


def test_a_matplotlibrc_does_not_change_the_charts():
    systems = [system("Original"), system("LoRA")]
    plain = chart.scores_svg(systems), chart.scores_png(systems, dots_per_inch=60)
    with matplotlib.rc_context({"axes.labelsize": 31, "lines.linewidth": 9, "figure.constrained_layout.use": True}):
        assert (chart.scores_svg(systems), chart.scores_png(systems, dots_per_inch=60)) == plain


@pytest.mark.parametrize("name", ["$\\frac{", "a $5 and $6 b", "<b>&\"'", "_hidden", "nul\x00 ‮rtl", "中文"])
def test_names_with_markup_or_formulas_are_shown_unchanged(name):
    shown = "".join(texts(chart.scores_svg([system(name), system("other")])))
    assert chart.one_line(name) in shown


def test_metrics_on_other_scales_or_missing_in_a_system_are_not_charted():
    systems = [system("a", metrics=("rouge1", "rouge2", "bleu")), system("b", metrics=("rouge1", "bleu"))]
    assert chart.charted_metrics(systems) == ["rouge1"]


def test_an_interval_that_excludes_its_value_is_drawn():
    assert "40.0" in texts(chart.scores_svg([system("a", value=0.4, low=0.41, high=0.46)]))


def test_scores_without_interval_are_drawn():
    assert "40.0" in texts(chart.scores_svg([system("a", low=None, high=None)]))


def test_bars_of_many_systems_have_no_value_labels():
    svg = chart.scores_svg([system(f"s{i}") for i in range(11)])
    assert "40.0" not in texts(svg)
    assert all(colour in svg for colour in chart.PALETTE)


ANCHORS = {
    "floor": anchor("lead-3", rouge1=0.25, rougeL=0.25),
    "ceiling": anchor("human agreement", rouge1=0.55, rougeL=0.55),
}


def test_floor_and_ceiling_are_lines_across_every_metric_with_their_values():
    svg = chart.scores_svg([system("Original"), system("LoRA")], **ANCHORS)
    assert {"lead-3 (floor)", "human agreement (ceiling)", "25.0", "55.0"} <= set(texts(svg))
    assert texts(svg).count("25.0") == texts(svg).count("55.0") == 2
    drawn = [paths(group) for group in re.findall(r'<g id="scores-LineCollection_\d+">.*?</g>', svg, re.DOTALL)]
    assert drawn.count(2) >= 2


def paths(group):
    return group.count("<path")


def test_the_legend_of_a_single_system_has_only_floor_and_ceiling():
    shown = texts(chart.scores_svg([system("Original")], **ANCHORS))
    assert "lead-3 (floor)" in shown
    assert "Original" not in shown


def test_an_anchor_without_the_charts_metrics_is_left_out():
    assert "lead-3 (floor)" not in texts(chart.scores_svg([system("Original")], floor=anchor("lead-3", bleu=0.2)))


def test_there_is_one_bar_per_system_and_metric():
    names = [f"s{i}" for i in range(3)]
    svg = chart.scores_svg([system(name, metrics=("rouge1", "rouge2", "rougeL")) for name in names])
    for colour in chart.PALETTE[:3]:
        assert len(re.findall(rf'<path d="[^"]*"[^>]*fill: {colour}', svg)) == 3 + 1  # bars, and the legend's sample


def test_scores_png_returns_a_png_file():
    assert chart.scores_png([system("a")], dots_per_inch=60).startswith(b"\x89PNG")


def test_names_with_missing_glyphs_are_drawn_without_warnings():
    names = ("␛ \U0001f600 \ua9c5", "b")
    assert chart.scores_png([system(name) for name in names], dots_per_inch=30).startswith(b"\x89PNG")


def test_the_loss_chart_uses_the_later_row_of_a_repeated_step():
    once = [log_row(1, loss=3.0), log_row(2, loss=2.0), log_row(2, eval_loss=2.5)]
    resumed = [log_row(1, loss=3.0), log_row(2, loss=9.0), *once[1:]]
    assert chart.losses_svg(once) == chart.losses_svg(resumed)
    assert {"training loss", "validation loss"} <= set(texts(chart.losses_svg(once)))


def test_a_loss_chart_without_evaluations_has_one_line():
    assert "validation loss" not in texts(chart.losses_svg([log_row(1, loss=3.0)]))


def test_charts_on_one_page_have_distinct_ids():
    log = [log_row(step, loss=3.0 / step) for step in (1, 2, 3)]
    ids = [set(re.findall(r'\bid="([^"]+)"', chart.losses_svg(log, salt=salt))) for salt in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]
    svg = chart.losses_svg(log, salt="one")
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    assert used <= ids[0]


def test_drawing_does_not_change_matplotlibs_settings():
    before = dict(matplotlib.rcParams)
    chart.scores_svg([system("a")])
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("widths", "columns"),
    [([20, 20, 20], 3), ([34, 34, 23, 40], 2), ([30, 30, 30, 30, 30, 30], 3), ([80, 80], 1), ([10] * 9, 9)],
)
def test_a_legend_has_as_many_columns_as_fit(widths, columns):
    assert chart._legend_columns(widths) == columns


def test_a_score_without_an_interval_has_no_error_bar():
    with_interval = chart.scores_svg([system("a"), system("b")])
    without = chart.scores_svg([system("a", low=None, high=None), system("b", low=None, high=None)])
    assert with_interval.count("LineCollection") > 0
    assert without.count("LineCollection") == 0


def test_the_eighth_system_is_hatched():
    svg = chart.scores_svg([system(f"s{i}") for i in range(8)])
    assert "<pattern" in svg
    assert "<pattern" not in chart.scores_svg([system(f"s{i}") for i in range(7)])
