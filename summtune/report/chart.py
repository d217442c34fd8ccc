"""Charts of scores and losses, drawn by matplotlib as SVG for the report or PNG for a README."""

from __future__ import annotations

import io
import itertools
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.runs.comparison import ComparedSystem
from summtune.runs.metrics import Anchor
from summtune.runs.statistics import TrainLogRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f")
"""The colours of Okabe and Ito, distinguishable with any colour vision; without yellow, too faint on white."""
INK = "#1f2328"
GRID = "#d8dee4"
SOFT = "#59636e"
PAPER = "#ffffff"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
"""The matplotlib settings of every chart, on top of the defaults."""
ANCHOR_DASHES: Mapping[str, Any] = {"floor": (0, (1.2, 1.6)), "ceiling": (0, (5, 2.2))}
"""The line styles of lead-3 and human agreement, which differ without colour, because colours denote systems."""
_LABELLED_BARS = 20
"""Up to this many bars are labelled with their values; labels of more would overlap."""
_LABELLED_GROUPS = 5
"""Up to this many metrics leave room next to their bars for the values of floor and ceiling."""
_ANCHORS, _LABELS, _INTERVALS = 2.0, 2.1, 2.2
"""The order in which lines and labels of bars are drawn; the bars come first."""
_GROUP_WIDTH = 0.74  # of the distance between two metrics
_LEGEND_ROW = 90  # characters across the chart
_LEGEND_MARK = 8  # characters that a colour sample and its gaps take


def scores_svg(
    systems: Sequence[ComparedSystem],
    *,
    floor: Anchor | None = None,
    ceiling: Anchor | None = None,
) -> str:
    """Return a chart of every system's ROUGE with its intervals, an ``<svg>`` element whose text is text.

    Args:
        systems: a group of bars each.
        floor: the scores of the dialogue's first lines: a dotted line per metric.
        ceiling: the scores of people against each other: a dashed line per metric.
    """
    return as_svg("scores", lambda: _score_figure(systems, {"floor": floor, "ceiling": ceiling}))


def scores_png(
    systems: Sequence[ComparedSystem],
    *,
    floor: Anchor | None = None,
    ceiling: Anchor | None = None,
    dots_per_inch: int = 200,
) -> bytes:
    """Return the chart of ``scores_svg`` on a white background, as the bytes of a PNG file."""
    with _styled({"figure.facecolor": PAPER}):
        content = io.BytesIO()
        # Without the software's name and version, the same scores always give the same bytes.
        figure = _score_figure(systems, {"floor": floor, "ceiling": ceiling})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)  # boxes
            figure.savefig(content, format="png", dpi=dots_per_inch, metadata={"Software": None})
        return content.getvalue()


def losses_svg(train_log: Sequence[TrainLogRow], *, salt: str = "losses", width: float = 8.0) -> str:
    """Return a chart of the training loss, and of the evaluation loss if there is one, as an ``<svg>`` element.

    Args:
        train_log: rows of ``train_log.jsonl``. A resumed run logs some steps again; the later row counts.
        salt: prefix that keeps the element ids of several charts on one page unique.
        width: in inches; a narrower chart has larger letters when shown at the same width.
    """
    return as_svg(salt, lambda: _loss_figure(train_log, width))


def charted_metrics(systems: Sequence[ComparedSystem]) -> list[str]:
    """Return the metrics that the chart shows: the ROUGE metrics that every system has, which share one scale."""
    first = systems[0].metrics
    return [name for name in first if numbers.is_fraction(name) and all(name in each.metrics for each in systems)]


def plain_axes(axes: Axes, grid: Literal["y", "both"]) -> None:
    """Remove everything from the axes except for the grid, behind the data, and the base line."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, linewidth=0.8)
    axes.set_axisbelow(True)


def legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Put a legend above the axes."""
    # Names that do not fit in one row are arranged by columns, so one row is better if there is room.
    shown = [textwrap.shorten(one_line(name), _LEGEND_ROW - _LEGEND_MARK, placeholder=" …") for name in names]
    drawn = figure.legend(
        handles,
        [str(index) for index in range(len(names))],
        loc="outside upper left",
        ncols=_legend_columns([len(name) + _LEGEND_MARK for name in shown]),
        frameon=False,
    )
    for label, name in zip(drawn.get_texts(), shown, strict=True):
        # Matplotlib would interpret text between two dollar signs as a formula.
        label.set_parse_math(False)
        label.set_text(name)


def _legend_columns(widths: Sequence[int]) -> int:
    """Return the number of legend columns: all names in one row if that fits, otherwise at most four columns."""
    for columns in (len(widths), 4, 3, 2):
        if columns > len(widths):
            continue
        rows, longer = divmod(len(widths), columns)  # as matplotlib does: the first columns have one row more
        starts = [place * rows + min(place, longer) for place in range(columns + 1)]
        if sum(max(widths[start:end]) for start, end in itertools.pairwise(starts)) <= _LEGEND_ROW:
            return columns
    return 1


def as_svg(salt: str, draw: Callable[[], Figure]) -> str:
    """Return the figure of ``draw`` as an ``<svg>`` element, with text as text, and ids that start with ``salt``."""
    with _styled({"svg.hashsalt": "summtune"}), warnings.catch_warnings():
        # The font for measuring text may lack letters of a name; the browser chooses a font that has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        content = io.StringIO()
        draw().savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    text = content.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return _with_own_ids(text, salt)


def _styled(more: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return the context of every chart: `STYLE` on matplotlib's defaults, regardless of any ``matplotlibrc``."""
    from matplotlib import style

    context: AbstractContextManager[None] = style.context(STYLE | dict(more), after_reset=True)
    return context


def _with_own_ids(svg: str, salt: str) -> str:
    """Return the element with ``salt`` before each id: matplotlib uses the same ids in every chart."""
    svg = re.sub(r'(?<=\bid=")', f"{salt}-", svg)
    return re.sub(r"(?<=url\(#)|(?<=href=\"#)", f"{salt}-", svg)


def _score_figure(systems: Sequence[ComparedSystem], anchors: Mapping[str, Anchor | None]) -> Figure:
    from matplotlib.figure import Figure

    metrics = charted_metrics(systems)
    figure = Figure(figsize=(8.0, 3.5), layout="constrained")
    axes = figure.add_subplot()
    handles = [_bars(axes, systems, metrics, index) for index in range(len(systems))] if len(systems) > 1 else []
    names = [system.name for system in systems] if len(systems) > 1 else []
    if not handles:
        _bars(axes, systems, metrics, 0)
    for kind, anchor in anchors.items():
        if anchor and any(name in anchor.metrics for name in metrics):
            handles.append(_anchor_lines(axes, metrics, anchor, kind))
            names.append(f"{anchor.name} ({kind})")
    axes.set_xticks(range(len(metrics)), [numbers.metric_title(name) for name in metrics])
    axes.set_ylabel("F-measure × 100")
    plain_axes(axes, "y")
    axes.margins(x=0.03, y=0.12)
    axes.set_ylim(bottom=0)
    if names:
        legend(figure, handles, names)
    return figure


def _bars(axes: Axes, systems: Sequence[ComparedSystem], metrics: Sequence[str], index: int) -> Any:
    """Draw one system's bars with their intervals and values."""
    import numpy as np

    estimates = [systems[index].metrics[name] for name in metrics]
    width = _GROUP_WIDTH / len(systems) if len(systems) > 1 else 0.42
    left = np.arange(len(metrics)) + (index - (len(systems) - 1) / 2) * width
    values = [100 * each.value for each in estimates]
    # From the eighth system on, colours repeat; stripes distinguish those bars from the first ones.
    hatch = "//" if index >= len(PALETTE) else None
    bars = axes.bar(left, values, width * 0.92, color=PALETTE[index % len(PALETTE)], hatch=hatch, edgecolor=PAPER)
    highs = [100 * (each.value if each.interval is None else each.interval[1]) for each in estimates]
    known = [place for place, each in enumerate(estimates) if each.interval is not None]
    spread = [(values[at] - 100 * (estimates[at].ci_low or 0.0), highs[at] - values[at]) for at in known]
    if known:  # a bar without an interval gets none, because one of zero length would look like certainty
        # A percentile interval may miss the mean, if only in the last bit; matplotlib refuses negative lengths.
        errors = np.maximum(0.0, np.transpose(spread))
        shown = [values[at] for at in known]
        axes.errorbar(
            left[known], shown, yerr=errors, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2.5, capthick=0.9,
            zorder=_INTERVALS,
        )  # fmt: skip
    if len(systems) * len(metrics) <= _LABELLED_BARS:
        size = 9 if len(systems) * len(metrics) <= 16 else 8
        for x, high, name, each in zip(left, highs, metrics, estimates, strict=True):
            _text(axes, x, high, numbers.score(name, each.value), size)
    return bars


def _anchor_lines(axes: Axes, metrics: Sequence[str], anchor: Anchor, kind: str) -> Any:
    """Draw a line across each metric's bars, with its value on the right."""
    places = [place for place, name in enumerate(metrics) if name in anchor.metrics]
    values = [100 * anchor.metrics[metrics[place]].value for place in places]
    half = _GROUP_WIDTH / 2 + 0.04
    lines = axes.hlines(
        values, [x - half for x in places], [x + half for x in places], INK, ANCHOR_DASHES[kind], linewidth=1.1,
        zorder=_ANCHORS,
    )  # fmt: skip
    if len(metrics) <= _LABELLED_GROUPS:
        for x, value, name in zip(places, values, (metrics[place] for place in places), strict=True):
            text = numbers.score(name, value / 100)
            axes.annotate(
                text, (x + half, value), (2, 0), textcoords="offset points", va="center", fontsize=8, color=SOFT
            )
    return lines


def _loss_figure(train_log: Sequence[TrainLogRow], width: float) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width, 2.7), layout="constrained")
    axes = figure.add_subplot()
    titles = []
    # Neither line has the colour of a system, because both belong to the same system.
    training = {row.step: row.loss for row in train_log if row.loss is not None}
    validation = {row.step: row.eval_loss for row in train_log if row.eval_loss is not None}
    for losses, title, colour in ((training, "training loss", PALETTE[-1]), (validation, "validation loss", INK)):
        points = sorted(losses.items())
        if points:
            marker = "o" if losses is validation or len(points) == 1 else ""
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.6, marker=marker, markersize=4)
            titles.append(title)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(axes, "both")
    legend(figure, axes.get_lines(), titles)
    return figure


def _text(axes: Axes, x: float, y: float, text: str, size: float) -> None:
    # The background keeps floor and ceiling lines out of the digits, but must not hide a neighbour's interval.
    axes.annotate(
        text, (x, y), (0, 3), textcoords="offset points", ha="center", va="bottom", fontsize=size, zorder=_LABELS,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip
