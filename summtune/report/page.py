"""Renders a report as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from summtune.base import numbers
from summtune.base.visible import one_line, visible
from summtune.report import chart, cost_chart
from summtune.report.break_even_chart import break_even_svg
from summtune.report.contents import USE_NOTE, Contents
from summtune.report.reader_data import BUDGET, reader_data
from summtune.report.table import Table

_Groups = dict[str, list[tuple[str, ...]]]
_ROWS_AT_ONCE = 16
"""Up to this many differences are shown; of more, only those of the first metric, and the others on demand."""
_TEMPLATES = Path(__file__).parent / "templates"


def to_html(contents: Contents, *, budget: int = BUDGET) -> bytes:
    """Return the page in UTF-8.

    Every text of the run is escaped, and its invisible characters are made visible; the security policy allows only
    the page's own script.

    Args:
        contents: the content of the report.
        budget: most bytes of dialogues on the page; further dialogues are left out.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"addressed": _addressed, "metric_title": numbers.metric_title}
    script = (_TEMPLATES / "reader.js").read_text(encoding="utf-8")
    names = [system.name for system in contents.systems]
    checks = contents.diagnostics.checks
    reader = reader_data(
        contents.scored_dialogues, contents.dialogue_scores, names, pair=contents.pair, checks=checks, budget=budget
    )
    pieces = environment.get_template("report.html.j2").generate(
        report=contents,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        charts=_charts(contents),
        chips={one_line(name): f"series-{place % len(chart.PALETTE)}" for place, name in enumerate(names)},
        groups=_grouped(contents.differences),
        index=Markup(reader.index),
        chunks=map(Markup, reader.chunks),
        held=reader.held,
        check_titles=reader.check_titles,
        several=len(names) > 1,
        use_note=USE_NOTE,
        count=numbers.count,
        share=numbers.share,
    )
    return b"".join(piece.encode() for piece in pieces)


def _charts(contents: Contents) -> dict[str, Any]:
    """Return the page's charts, None for those with nothing to draw."""
    logs = [each for each in contents.details if any(row.loss is not None for row in each.train_log)]
    width = 8.0 if len(logs) == 1 else 5.2
    costs = cost_chart.cost_svg(contents.systems, hours=contents.hours, floor=contents.floor, ceiling=contents.ceiling)
    return {
        "scores": _themed(chart.scores_svg(contents.systems, floor=contents.floor, ceiling=contents.ceiling))
        if chart.charted_metrics(contents.systems)
        else None,
        "costs": _themed(costs),
        "money": [
            (currency, _themed(break_even_svg(currency, lines)))
            for currency, lines in (contents.break_even.lines.items() if contents.break_even else ())
        ],
        "losses": [
            (details.name, _themed(chart.losses_svg(details.train_log, salt=f"losses{place}", width=width)))
            for place, details in enumerate(logs)
        ],
    }


def _grouped(table: Table | None) -> tuple[_Groups, _Groups]:
    """Return the rows of the differences by pair of systems: those to show first, and all of them if that is fewer."""
    rows = table.rows if table else ()
    if len(rows) <= _ROWS_AT_ONCE:
        return _by_systems(rows), {}
    return _by_systems([row for row in rows if row[1] == rows[0][1]]), _by_systems(rows)


def _by_systems(rows: Sequence[tuple[str, ...]]) -> _Groups:
    groups: _Groups = {}
    for first, *rest in rows:
        groups.setdefault(first, []).append(tuple(rest))
    return groups


def _addressed(id_: str) -> str:
    """Return the id encoded for a link's fragment, as the reader's script does."""
    return quote(visible(id_), safe="")


def _shown(value: Any) -> Any:
    """Return the value of a template expression with hidden characters shown: text of a run is never trusted."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _themed(svg: str | None) -> Markup | None:
    """Return the chart with the page's colours and font."""
    if svg is None:
        return None
    names = {colour: f"--series-{place}" for place, colour in enumerate(chart.PALETTE)}
    names |= {chart.INK: "--ink", chart.GRID: "--line", chart.SOFT: "--soft", chart.PAPER: "--paper"}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name}, {colour})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    return Markup(svg)
