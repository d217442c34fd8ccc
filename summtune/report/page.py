"""Renders a report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from summtune.report import chart
from summtune.report.contents import Contents
from summtune.report.visible import visible

_TEMPLATES = Path(__file__).parent / "templates"


def to_html(contents: Contents) -> str:
    """Return the page.

    Every text of the run is escaped, and its invisible characters are made visible; the page's own script is the only
    one that its security policy lets run.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = (_TEMPLATES / "reader.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        report=contents,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        score_chart=_themed(chart.scores_svg(contents.systems)) if chart.charted_metrics(contents.systems) else None,
        loss_charts=[
            (details.name, _themed(chart.losses_svg(details.train_log, salt=f"losses{index}")))
            for index, details in enumerate(contents.details)
            if any(row.get("loss") is not None for row in details.train_log)
        ],
        colours=len(chart.PALETTE),
        turns=_turns,
    )


def _shown(value: Any) -> Any:
    """Return what an expression of the template puts into the page: text of a run is never trusted."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _themed(svg: str) -> Markup:
    """Return the chart with colours that follow the page's, and its text in the page's font."""
    names = {colour: f"--series-{index}" for index, colour in enumerate(chart.PALETTE)}
    names |= {chart.INK: "--ink", chart.GRID: "--line"}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name}, {colour})")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    return Markup(svg)


def _turns(dialogue: str) -> list[tuple[str, str]]:
    """Return the dialogue's lines as (speaker with colon, rest); a line without a short speaker has an empty one."""
    turns = []
    for line in visible(dialogue).split("\n"):
        speaker = re.match(r"[^\s:][^:]{0,39}:(?=\s|$)", line)
        turns.append((speaker.group(), line[speaker.end() :]) if speaker else ("", line))
    return turns
