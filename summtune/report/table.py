"""Tables of scores and differences, for the terminal and for Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.runs.comparison import ComparedSystem, Comparison
from summtune.runs.metrics import Anchor, Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_MARKS = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|^#")
"""What Markdown would interpret as markup; a ``_`` inside a word, or a ``#`` inside a line, is plain text."""


_WITHIN_VALUE = re.compile(r" ([±<=]) ")

_WIDEST = 1_000
"""Width in cells of a line without a limit."""


@dataclass(frozen=True)
class Table:
    """A table of formatted texts.

    Args:
        header: one title per column.
        rows: one cell per column each.
        text_columns: number of columns on the left with text; the others contain numbers and are right-aligned.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1


def score_table(
    systems: Sequence[ComparedSystem],
    floor: Anchor | None = None,
    ceiling: Anchor | None = None,
) -> Table:
    """Return systems × metrics, each score with half its interval's width, and the parameter counts.

    The last rows are the floor and the ceiling, for reference.

    Args:
        systems: one a row.
        floor: of their dialogues; None where there is none.
        ceiling: likewise.
    """
    metrics = list(dict.fromkeys(name for system in systems for name in system.metrics))
    counted = any(system.parameters is not None for system in systems)
    rows = [
        (one_line(system.name), *_score_cells(system.metrics, metrics), *(_parameter_cells(system) if counted else ()))
        for system in systems
    ]
    for anchor, part in ((floor, "floor"), (ceiling, "ceiling")):
        if anchor is not None:
            rows.append(
                (f"{anchor.name} ({part})", *_score_cells(anchor.metrics, metrics), *(("–", "–") if counted else ()))
            )
    titles = (numbers.metric_title(name) for name in metrics)
    return Table(("System", *titles, *(("Trainable parameters", "Parameters") if counted else ())), tuple(rows))


def difference_table(comparison: Comparison) -> Table:
    """Return one row for every two systems and metric: its difference, simultaneous interval and p-values."""
    level = numbers.percent(comparison.protocol.bootstrap.confidence)
    rows = tuple(
        (
            f"{one_line(row.a)} {numbers.MINUS} {one_line(row.b)}",
            numbers.metric_title(row.metric),
            numbers.difference(row.metric, row.difference),
            numbers.difference_interval(row.metric, row.ci_low, row.ci_high),
            _bare(numbers.p_value(row.p_value)),
            _bare(numbers.p_value(row.p_adjusted)),
        )
        for row in comparison.differences
    )
    titles = ("Systems", "Metric", "Difference", f"{level} interval", "p (alone)", "p (all rows)")
    return Table(titles, rows, text_columns=2)


def print_table(console: Console, table: Table) -> None:
    """Print a table on the terminal, see `print_rows`."""
    from rich.text import Text

    # A Text is shown as it is; a str would be searched for rich's markup, and a name may hold brackets.
    print_rows(console, table.header, [[Text(cell) for cell in row] for row in table.rows], table.text_columns)


def print_rows(console: Console, header: Sequence[str], rows: Sequence[Sequence[Text]], text_columns: int = 1) -> None:
    """Print rows of cells below their titles; on a terminal that is too narrow, each row as a block of lines.

    Cells of text may break between words, but numbers never: half of an interval is a wrong number.

    Args:
        console: the console to print on.
        header: one title per column.
        rows: one cell per column each.
        text_columns: number of columns on the left with text; the others contain numbers and are right-aligned.
    """
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

    printed = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(header):
        if index < text_columns:
            printed.add_column(Text(title), overflow="fold")
        else:
            widest = max(Text(title).cell_len, *(row[index].cell_len for row in rows))
            printed.add_column(Text(title), justify="right", no_wrap=True, min_width=widest)
    for row in rows:
        printed.add_row(*row)
    if Measurement.get(console, console.options.update(max_width=_WIDEST), printed).minimum <= console.width:
        console.print(printed)
        return
    console.print()
    for row in rows:
        block = RichTable.grid(padding=(0, 2, 0, 0))
        block.add_column(overflow="fold")
        block.add_column(no_wrap=True, overflow="fold", min_width=max(cell.cell_len for cell in row[1:]))
        for title, cell in zip(header[1:], row[1:], strict=True):
            block.add_row(Text(f"  {title}"), cell)
        console.print(Text.assemble((row[0].plain, "bold")), block, "", sep="\n")


def print_scores(
    console: Console,
    systems: Sequence[ComparedSystem],
    floor: Anchor | None = None,
    ceiling: Anchor | None = None,
) -> None:
    """Print the table of ``score_table``, with the share of trained weights instead of parameter counts, and money."""
    table = score_table(systems, floor, ceiling)
    if table.header[-1] == "Parameters":
        shares = [*(_share(system) for system in systems), *["–"] * (len(table.rows) - len(systems))]
        rows = tuple((*row[:-2], share) for row, share in zip(table.rows, shares, strict=True))
        table = Table((*table.header[:-2], "Trained"), rows)
    print_table(console, _with_money(table, systems))


def _with_money(table: Table, systems: Sequence[ComparedSystem]) -> Table:
    """Return the table of scores with the columns of `money_columns`; floor and ceiling cost nothing known."""
    columns = money_columns(systems)
    below = ("–",) * (len(table.rows) - len(systems))
    added = list(zip(*((*cells, *below) for _, cells in columns), strict=True)) or [()] * len(table.rows)
    rows = tuple((*row, *cells) for row, cells in zip(table.rows, added, strict=True))
    return Table((*table.header, *(title for title, _ in columns)), rows)


def money_columns(systems: Sequence[ComparedSystem]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what training and 1,000 dialogues of each system cost, as titles and cells, where one's is known."""
    columns = (
        ("Training", [system.cost.training_money for system in systems]),
        ("1,000 dialogues", [system.cost.money_per_1000_dialogues for system in systems]),
    )
    currencies = [system.cost.currency for system in systems]
    return [
        (
            title,
            tuple(
                "–" if value is None or currency is None else numbers.money(value, currency)
                for value, currency in zip(amounts, currencies, strict=True)
            ),
        )
        for title, amounts in columns
        if any(value is not None for value in amounts)
    ]


def print_sentence(console: Console, text: str) -> None:
    """Print a sentence, wrapped to the width of the terminal; a value stays on one line with its interval."""
    from rich.cells import cell_len

    lines = [""]
    for piece in _WITHIN_VALUE.sub("\u00a0\\1\u00a0", text).split(" "):
        longer = f"{lines[-1]} {piece}" if lines[-1] else piece
        if lines[-1] and cell_len(longer) > console.width:
            lines.append(piece)
        else:
            lines[-1] = longer
    console.print("\n".join(lines).replace("\u00a0", " "), highlight=False, markup=False, soft_wrap=True)


def to_markdown(table: Table) -> str:
    """Return the table as GitHub-flavoured Markdown, with a final line end."""
    marks = ["---" if index < table.text_columns else "---:" for index in range(len(table.header))]
    lines = [table.header, tuple(marks), *table.rows]
    escaped = ([escape_markdown(cell) if line is not lines[1] else cell for cell in line] for line in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


def escape_markdown(text: str) -> str:
    """Return one line that Markdown shows unchanged: it closes no cell, opens no tag and starts no emphasis."""
    return _MARKS.sub(r"\\\g<0>", one_line(text).replace("&", "&amp;"))


def _score_cells(scores: Mapping[str, Estimate], metrics: Sequence[str]) -> tuple[str, ...]:
    return tuple(_cell(name, scores.get(name)) for name in metrics)


def _bare(p_value: str) -> str:
    """Return the p-value without ``p``, for a column with that title: ``0.034``, ``< 0.001``."""
    return p_value.removeprefix("p ").removeprefix("= ")


def _parameter_cells(system: ComparedSystem) -> tuple[str, str]:
    if system.parameters is None:
        return "–", "–"
    return numbers.parameters(*system.parameters), numbers.count(system.parameters[1])


def _share(system: ComparedSystem) -> str:
    return "–" if system.parameters is None else numbers.share(*system.parameters)


def _cell(name: str, estimate: Estimate | None) -> str:
    return "–" if estimate is None else numbers.with_half_width(name, estimate.value, estimate.ci_low, estimate.ci_high)
