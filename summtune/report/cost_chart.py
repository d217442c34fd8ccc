"""Scores against costs: charts, and tables of what making and using each system takes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.report.chart import ANCHOR_DASHES, INK, PALETTE, SOFT, as_svg, legend, plain_axes
from summtune.report.table import Table, money_columns
from summtune.runs.comparison import ComparedSystem
from summtune.runs.cost import Cost
from summtune.runs.metrics import Anchor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NARROW = 16  # characters of a title above one of five panels
_MARKERS = "os^DvPX"
_LOG_FROM = 20
"""Costs whose largest value is at least this many times the smallest get a logarithmic axis."""


@dataclass(frozen=True)
class _Cost:
    """One kind of cost: its title, its value for a system, the format of values, and the factor between units."""

    title: str
    of: Callable[[ComparedSystem], float | None]
    text: Callable[[float], str]
    step: int = 1000
    decimal: bool = False


@dataclass(frozen=True)
class _Axis:
    """An axis of costs: one coordinate per value, and the ticks with their labels."""

    places: tuple[float, ...]
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    limits: tuple[float, float]
    logarithmic: bool


def cost_table(systems: Sequence[ComparedSystem], *, hours: str = "Device-hours") -> Table | None:
    """Return systems × costs, without trained weights and costs that no system has; None if no cost is left.

    Args:
        systems: one per row.
        hours: the title of device-hours.
    """
    shown = [cost for cost in _costs(hours)[1:] if any(cost.of(system) is not None for system in systems)]
    if not shown:
        return None
    rows = tuple((one_line(system.name), *(_cell(cost, cost.of(system)) for cost in shown)) for system in systems)
    return Table(("System", *(cost.title for cost in shown)), rows)


def use_table(systems: Sequence[ComparedSystem], *, hours: str = "Device-hours") -> Table | None:
    """Return systems × what training and 1,000 dialogues cost, in money, tokens and hours; None if nothing is known.

    Args:
        systems: one per row.
        hours: the title of device-hours.
    """
    rest: tuple[tuple[str, Callable[[Cost], float | None], Callable[[float], str]], ...] = (
        (
            "Prompt tokens per 1,000",
            lambda cost: cost.per_1000(cost.prompt_tokens),
            lambda value: numbers.count(round(value)),
        ),
        (
            "Generated tokens per 1,000",
            lambda cost: cost.per_1000(cost.generated_tokens),
            lambda value: numbers.count(round(value)),
        ),
        (f"{hours} per 1,000", lambda cost: cost.per_1000(cost.generation_device_hours), numbers.significant),
    )
    columns = money_columns(systems)
    for title, of, text in rest:
        values = [of(system.cost) for system in systems]
        if any(value is not None for value in values):
            columns.append((title, tuple("–" if value is None else text(value) for value in values)))
    if not columns:
        return None
    titles, cells = zip(*columns, strict=True)
    rows = zip((one_line(system.name) for system in systems), *cells, strict=True)
    return Table(("System", *titles), tuple(rows))


def cost_svg(
    systems: Sequence[ComparedSystem],
    *,
    floor: Anchor | None = None,
    ceiling: Anchor | None = None,
    hours: str = "Device-hours",
) -> str | None:
    """Return one small chart per cost, with one point per system, as an ``<svg>`` element; None without two points.

    Args:
        systems: the first metric that two of them have is shown.
        floor: drawn as a dotted line, if it has the metric.
        ceiling: drawn as a dashed line, if it has the metric.
        hours: the title of device-hours.
    """
    metric = shown_metric(systems)
    if metric is None:
        return None
    scored = [(index, system) for index, system in enumerate(systems) if metric in system.metrics]
    possible = (*_costs(hours), *_money_of_use(systems))
    costs = [cost for cost in possible if _is_telling([cost.of(system) for _, system in scored])]
    if not costs:
        return None
    anchors = {"floor": floor, "ceiling": ceiling}
    return as_svg("costs", lambda: _cost_figure(scored, costs, metric, anchors))


def shown_metric(systems: Sequence[ComparedSystem]) -> str | None:
    """Return the first metric that two systems have."""
    names = dict.fromkeys(name for system in systems for name in system.metrics)
    return next((name for name in names if sum(name in system.metrics for system in systems) > 1), None)


def _costs(hours: str) -> tuple[_Cost, ...]:
    return (
        _Cost("Trained parameters", lambda system: system.trainable_parameters, _short_count),
        _Cost(hours, lambda system: system.cost.training_device_hours, _short_hours, decimal=True),
        _Cost("Peak memory per device", lambda system: system.cost.peak_memory_bytes, _short_size, 1024),
        _Cost("Size on disk", lambda system: system.cost.size_bytes, _short_size, 1024),
    )


def _money_of_use(systems: Sequence[ComparedSystem]) -> list[_Cost]:
    """Return the money of 1,000 dialogues as a kind of cost, if all that is known has one currency."""
    known = {system.cost.currency for system in systems if system.cost.money_per_1000_dialogues is not None}
    if len(known) != 1:
        return []
    title = f"{known.pop()} per 1,000 dialogues"
    return [_Cost(title, lambda system: system.cost.money_per_1000_dialogues, numbers.decimal, decimal=True)]


def _cell(cost: _Cost, value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else cost.text(value)


def _is_telling(values: Sequence[float | None]) -> bool:
    known = [value for value in values if value is not None]
    return len(known) > 1 and any(known)


def _cost_figure(
    scored: Sequence[tuple[int, ComparedSystem]],
    costs: Sequence[_Cost],
    metric: str,
    anchors: Mapping[str, Anchor | None],
) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(8.0, 2.9), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, cost in zip(panels, costs, strict=True):
        _panel(axes, cost, scored, metric, cost.title if len(costs) < 5 else textwrap.fill(cost.title, _NARROW))
    panels[0].set_ylabel(one_line(numbers.metric_title(metric)), parse_math=False)
    handles: list[Any] = [
        Line2D([], [], color=PALETTE[index % len(PALETTE)], marker=_marker(index), linestyle="") for index, _ in scored
    ]
    names = [system.name for _, system in scored]
    for kind, anchor in anchors.items():
        if anchor and metric in anchor.metrics:
            value = _shown(metric, anchor.metrics[metric].value)
            lines = [axes.axhline(value, color=INK, linestyle=ANCHOR_DASHES[kind], linewidth=1.0) for axes in panels]
            handles.append(lines[0])
            names.append(f"{anchor.name} ({kind})")
    legend(figure, handles, names)
    return figure


def _marker(index: int) -> str:
    """Return a marker that differs from that of the previous system with the same colour."""
    return _MARKERS[(index + index // len(PALETTE)) % len(_MARKERS)]


def _panel(axes: Axes, cost: _Cost, scored: Sequence[tuple[int, ComparedSystem]], metric: str, title: str) -> None:
    known = [(index, system, value) for index, system in scored if (value := cost.of(system)) is not None]
    axis = _axis([value for _, _, value in known], cost)
    for place, (index, system, _) in zip(axis.places, known, strict=True):
        estimate = system.metrics[metric]
        value = _shown(metric, estimate.value)
        colour = PALETTE[index % len(PALETTE)]
        if estimate.interval is not None:
            axes.plot([place, place], [_shown(metric, end) for end in estimate.interval], color=colour, linewidth=1.3)
        axes.plot([place], [value], color=colour, marker=_marker(index), markersize=5.5)
    plain_axes(axes, "both")
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlim(*axis.limits)
    axes.set_xticks(axis.ticks, axis.labels, fontsize=8.5)
    axes.margins(y=0.1)
    if axis.logarithmic:
        axes.annotate("log", (1, 0), (0, 3), "axes fraction", "offset points", ha="right", fontsize=7.5, color=SOFT)


def _axis(values: Sequence[float], cost: _Cost) -> _Axis:
    """Return a linear axis from zero, or a logarithmic one with a separate position for zero on the left."""
    from matplotlib.ticker import MaxNLocator

    positive = [value for value in values if value > 0]
    low, high = min(positive), max(positive)
    if high / low < _LOG_FROM:
        scale = max((unit for unit in _units(cost) if unit <= high), default=high)
        ticks = [scale * tick for tick in MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(0, high / scale)]
        limits = (-0.1 * high, 1.12 * high)
        ticks = [tick for tick in ticks if 0 <= tick <= high * 1.02]
        labels = tuple(_cell(cost, tick) for tick in ticks)
        return _Axis(_apart(values, limits), tuple(ticks), labels, limits, False)
    bottom, top = math.log10(low), math.log10(high)
    margin = 0.14 * (top - bottom)
    units = [unit for unit in _units(cost) if bottom - margin / 2 <= math.log10(unit) <= top + margin / 2] or [
        low,
        high,
    ]
    units = units[:: math.ceil(len(units) / 3)]
    ticks, texts = [math.log10(unit) for unit in units], [cost.text(unit) for unit in units]
    zero = bottom - 2 * margin
    if len(positive) < len(values):
        ticks, texts, bottom = [zero, *ticks], ["0", *texts], zero
    limits = (bottom - margin, top + margin)
    places = _apart([math.log10(value) if value > 0 else zero for value in values], limits)
    return _Axis(places, tuple(ticks), tuple(texts), limits, True)


def _apart(places: Sequence[float], limits: tuple[float, float]) -> tuple[float, ...]:
    """Return the coordinates with coinciding ones moved apart, so that no interval hides another."""
    gap = 0.035 * (limits[1] - limits[0])
    moved = []
    for index, place in enumerate(places):
        same = [other for other in range(len(places)) if abs(places[other] - place) < gap / 2]
        moved.append(place + (same.index(index) - (len(same) - 1) / 2) * gap)
    return tuple(moved)


def _units(cost: _Cost) -> list[float]:
    """Return 1, 10 and 100 of every unit, or powers of ten for hours, which have decimals."""
    whole = [float(cost.step**power * times) for power in range(6) for times in (1, 10, 100)]
    return whole if not cost.decimal else [10.0**power for power in range(-9, 9)]


def _shown(metric: str, value: float) -> float:
    """Return the value on the scale on which it is shown."""
    return 100 * value if numbers.is_fraction(metric) else value


def _short_count(value: float) -> str:
    """Return a count in thousands, millions or billions: ``36.9 k``, ``248 M``."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"


def _short_hours(value: float) -> str:
    """Return device-hours: with two significant digits below one."""
    return f"{value:.2g}" if value < 1 else numbers.decimal(value)


def _short_size(value: float) -> str:
    """Return a size without a zero decimal: ``10 MiB``."""
    return numbers.size(round(value)).replace(".0 ", " ")
