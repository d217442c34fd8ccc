"""Charts of total money against the number of dialogues, one for each currency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from summtune.base import numbers
from summtune.report.break_even import Crossing, Line, crossings
from summtune.report.chart import INK, PALETTE, as_svg, legend, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG_FROM = 20
"""Break-evens of which the largest has at least this many times the dialogues of the smallest get logarithmic axes."""
_FEWEST = 1000
"""Dialogues that the chart reaches at least to."""
_POINTS = 200
_DASHES = ("-", "--", ":")


def break_even_svg(currency: str, lines: Sequence[Line]) -> str:
    """Return a chart of the total money of each system, as an ``<svg>`` element; where two cross is marked.

    Args:
        currency: of the money.
        lines: of two or more systems.
    """
    return as_svg(f"money-{currency}", lambda: _figure(currency, lines))


def _figure(currency: str, lines: Sequence[Line]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    marked = [each for each in crossings(lines) if each.dialogues is not None and each.dialogues >= 1]
    places = sorted(each.dialogues or 0.0 for each in marked)
    logarithmic = bool(places) and places[-1] >= _LOG_FROM * places[0]
    first = places[0] / 10 if logarithmic else 0.0
    last = (10 if logarithmic else 2) * places[-1] if places else _reach(lines)
    _draw(axes, lines, first, last, logarithmic)
    for each in marked:
        _mark(axes, each)
    axes.set_xlabel("dialogues")
    axes.set_ylabel(f"{currency}, training included")
    legend(figure, axes.get_lines()[: len(lines)], [line.name for line in lines])
    return figure


def _reach(lines: Sequence[Line]) -> float:
    """Return for how many dialogues lines that do not cross are drawn: until using a system costs as its training."""
    return max(_FEWEST, *(2 * line.once / line.each for line in lines if line.each > 0 and line.once > 0), _FEWEST)


def _draw(axes: Axes, lines: Sequence[Line], first: float, last: float, logarithmic: bool) -> None:
    import numpy as np
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    places = np.geomspace(first, last, _POINTS) if logarithmic else np.array([first, last])
    for line in lines:
        colour, dashes = PALETTE[line.place % len(PALETTE)], _DASHES[line.place // len(PALETTE) % len(_DASHES)]
        axes.plot(places, [line.total(place) for place in places], color=colour, linestyle=dashes, linewidth=1.8)
    plain_axes(axes, "both")
    axes.set_xlim(first, last)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log", nonpositive="mask")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=7))
            axis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.decimal(value)))


def _mark(axes: Axes, crossing: Crossing) -> None:
    assert crossing.dialogues is not None, "only crossings are marked"
    place = (crossing.dialogues, crossing.trained.total(crossing.dialogues))
    axes.plot(*place, color=INK, marker="o", markersize=4.5)
    text = numbers.about(int(crossing.dialogues) + 1)
    axes.annotate(text, place, (0, 7), textcoords="offset points", ha="right", va="bottom", fontsize=8.5, color=INK)
