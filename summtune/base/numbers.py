"""Formats numbers for people: scores, intervals, counts, durations, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

MINUS = "−"
"""The typographic minus sign: as wide as a digit, and it does not break at the end of a line."""


def metric_title(name: str) -> str:
    """Return the usual spelling of a metric: ``ROUGE-1``, ``ROUGE-Lsum``; other metrics keep their name."""
    return f"ROUGE-{name.removeprefix('rouge')}" if is_fraction(name) else name


def is_fraction(name: str) -> bool:
    """Return whether a metric's values are fractions shown ×100; metrics other than ROUGE keep their own scale."""
    return name.startswith("rouge") and name.removeprefix("rouge") in {*"123456789", "L", "Lsum"}


def is_lower_better(name: str) -> bool:
    """Return whether lower values of a metric are better; for unknown metrics, higher is assumed to be better."""
    return name.split(".")[0] in {"wer", "cer", "ter", "perplexity"}


def score(name: str, value: float, more: int = 0) -> str:
    """Return a score: ×100 with one decimal for ROUGE (``47.3``), unscaled with three decimals for other metrics.

    Args:
        name: of the metric.
        value: in the metric's unit.
        more: decimals in addition to these.
    """
    return _signless_zero(f"{value * 100:.{1 + more}f}" if is_fraction(name) else f"{value:.{3 + more}f}")


def difference(name: str, value: float, more: int = 0) -> str:
    """Return a difference of two scores with its sign: ``+17.5``, ``−0.3``, ``0.0``; see `score`."""
    text = score(name, value, more)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def difference_interval(name: str, low: float | None, high: float | None) -> str:
    """Return the interval of a difference, ``15.6 to 19.4``, or a dash if there is none.

    An end that is not zero is not shown as zero: it has as many decimals as it takes to see on which side it is.
    """
    if low is None or high is None:
        return "–"
    shown = (
        next((text for text in _ever_finer(name, end) if text.strip(f"0.{MINUS}") or end == 0), score(name, end))
        for end in (low, high)
    )
    return " to ".join(shown)


def difference_with_half_width(name: str, value: float, low: float, high: float) -> str:
    """Return a difference with its sign and half the width of its interval: ``−2.3 ± 2.0``.

    Both have as many decimals as it takes to see whether the interval excludes zero.
    """
    half = (high - low) / 2
    excludes_zero = not low <= 0 <= high
    texts = list(zip(_ever_finer(name, abs(value)), _ever_finer(name, half), strict=True))
    sides = (more for more, (size, width) in enumerate(texts) if (float(size) > float(width)) == excludes_zero)
    more = next(sides, 0)
    return f"{difference(name, value, more)} ± {score(name, half, more)}"


def interval(name: str, low: float | None, high: float | None) -> str:
    """Return an interval, ``45.1 to 49.6``, or a dash if there is none."""
    if low is None or high is None:
        return "–"
    return f"{score(name, low)} to {score(name, high)}"


def with_half_width(name: str, value: float, low: float | None, high: float | None) -> str:
    """Return a score with half the width of its interval: ``47.3 ± 2.2``."""
    text = score(name, value)
    return text if low is None or high is None else f"{text} ± {score(name, (high - low) / 2)}"


def p_value(value: float) -> str:
    """Return ``p < 0.001`` or ``p = 0.034``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def count(value: int) -> str:
    """Return a whole number with separators: ``247,577,856``."""
    return f"{value:,}"


def listed(parts: Iterable[str]) -> str:
    """Return names, or parts that begin with a name, in a row: between commas, or semicolons if a part has a comma."""
    row = list(parts)
    return ("; " if any("," in part for part in row) else ", ").join(row)


def counted(value: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``1,200 rows``."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def share(part: int, whole: int) -> str:
    """Return a share in percent with at most three significant digits: ``1.41 %``, ``100 %``, ``0 %``."""
    if whole == 0:
        return "–"
    percentage = 100 * part / whole
    if 0 < percentage < 0.001:
        return "< 0.001 %"
    return f"{min(percentage, 99.9) if part < whole else percentage:.3g} %"


def parameters(trainable: int, total: int) -> str:
    """Return trainable parameters and their share: ``3,538,944 (1.41 %)``."""
    return "0" if trainable == 0 else f"{count(trainable)} ({share(trainable, total)})"


def decimal(value: float) -> str:
    """Return a mean or a loss with up to four significant digits: ``23.41``, ``1,466``, ``0.00012``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def significant(value: float) -> str:
    """Return an amount with three significant digits below one, else as `decimal`: ``0.00421``, ``1.75``, ``0``."""
    if not 0 < abs(value) < 1:
        return decimal(value)
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def money(value: float, currency: str) -> str:
    """Return an amount of money: ``1,240 USD``, ``3.50 EUR``, ``0.00421 USD``, ``0 USD``."""
    return f"{f'{value:.2f}' if 1 <= value < 1000 else significant(value)} {currency}"


def about(value: int) -> str:
    """Return a count rounded to three significant digits: ``12,400``."""
    return count(round(value, min(0, 3 - len(str(value)))))


def percent(fraction: float) -> str:
    """Return a confidence level: ``95%``."""
    return f"{fraction * 100:g}%"


def rate(fraction: float) -> str:
    """Return a rate in percent with two significant digits: ``0.2 %``, ``12 %``."""
    percentage = 100 * fraction
    return f"{percentage:.0f} %" if percentage >= 9.95 else f"{percentage:.2g} %"


def duration(seconds: float) -> str:
    """Return a duration: ``0.8 s``, ``42 s``, ``12 min 05 s``, ``3 h 07 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count_of_bytes: int) -> str:
    """Return a size in binary units: ``512 B``, ``1.5 GiB``."""
    value = float(count_of_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _ever_finer(name: str, value: float) -> list[str]:
    """Return a score with its usual decimals, and with up to four more."""
    return [score(name, value, more) for more in range(5)]


def _signless_zero(text: str) -> str:
    """Return the text with a typographic minus, but without a sign before a zero (``-0.04`` rounds to ``0.0``)."""
    if not text.startswith("-"):
        return text
    return f"{MINUS}{text[1:]}" if text[1:].strip("0.") else text[1:]
