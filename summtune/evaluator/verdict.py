"""Writes the verdict: a sentence on each system, then one on the cheapest of those that may be the best."""

from __future__ import annotations

from summtune.base import numbers
from summtune.evaluator.cheapest import cheapest
from summtune.evaluator.diagnostics import unread
from summtune.runs.comparison import Comparison, Difference


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Return one sentence for each system but the baseline, on the comparison's first metric, then one on the best.

    A sentence compares the system with the baseline and then with the best of all systems, so that one that beats the
    baseline does not look better than all others that do. Without a baseline, the best system is compared with each
    other one. Higher is better, except for error rates and perplexity.

    Two systems count as different if the interval of their difference excludes zero
    (``summtune.evaluator.simultaneous``). Systems that are not distinguishable are not called equal: the sentence
    includes the interval.

    The last sentence names the systems that may be the best as well, and the cheapest of them to use. It is left out
    where one system is the best, where dialogues are too few for intervals, and where it would repeat another one: of
    two systems whose costs are unknown.

    No conclusion is drawn from ROUGE that cannot read the references (`diagnostics.unread`); another metric may decide.

    Args:
        comparison: without a verdict yet.
    """
    letters = comparison.diagnostics.checks.unread_letters
    rows = _telling(comparison)
    if letters is None or rows is comparison.differences:
        return (*_sentences(comparison, _metric_of_verdict(comparison)), *_on_the_best(comparison))
    without = f"No verdict is drawn from ROUGE, which cannot read {numbers.rate(letters.share)} of the letters."
    if not rows:
        return (without,)
    return (without, *_sentences(comparison, _metric_of_verdict(comparison)), *_on_the_best(comparison))


def not_distinguishable_from_best(comparison: Comparison) -> tuple[str, ...]:
    """Return the systems that may be the best on the verdict's metric, in the order in which they are shown.

    These are the one with the best score and those whose difference from it has an interval that includes zero, or
    none. It is empty if no verdict is drawn.

    Args:
        comparison: its verdict is not read.
    """
    metric = _metric_of_verdict(comparison)
    if metric is None:
        return ()
    best, words = _best(comparison, metric), _Words(comparison, metric)
    names = [system.name for system in comparison.systems]
    tied = {name for name in names if (name, best) in words.rows and not words.rows[name, best].is_real}
    return tuple(name for name in names if name == best or name in tied)


def _telling(comparison: Comparison) -> tuple[Difference, ...]:
    """Return the differences that the verdict may use: not those of ROUGE that cannot read the references."""
    letters = comparison.diagnostics.checks.unread_letters
    if letters is None or not unread.draws_no_verdict(letters):
        return comparison.differences
    return tuple(row for row in comparison.differences if not numbers.is_fraction(row.metric))


def _sentences(comparison: Comparison, metric: str | None) -> list[str]:
    baseline = comparison.baseline
    if metric is None:
        return ["Nothing can be tested: the systems share no score of single dialogues."]
    scored = [system for system in comparison.systems if metric in system.metrics]
    lower, best = numbers.is_lower_better(metric), _best(comparison, metric)
    words = _Words(comparison, metric)
    if baseline is None:
        return [f"{words.against(best, each.name)}." for each in scored if each.name != best]
    sentences = []
    for name in (each.name for each in comparison.systems if each.name != baseline):
        assert baseline is not None
        if (name, baseline) not in words.rows:
            sentences.append(f"{name} was not scored with {numbers.metric_title(metric)}.")
            continue
        parts = [words.against(name, baseline)]
        if name == best and len(scored) > 2:
            parts.append(f"no other system scores {'lower' if lower else 'higher'}")
        elif best not in (name, baseline) and (name, best) in words.rows:
            parts.append(words.behind_best(name, best))
        sentences.append(f"{'; '.join(parts)}.")
    return sentences


def _on_the_best(comparison: Comparison) -> list[str]:
    """Return a sentence on the systems that are not distinguishable from the best, and the cheapest of them."""
    metric, names = _metric_of_verdict(comparison), not_distinguishable_from_best(comparison)
    tested = all(row.interval is not None for row in comparison.differences if row.metric == metric)
    if metric is None or len(names) < 2 or not tested:
        return []
    systems = [system for system in comparison.systems if system.name in names]
    found = cheapest(systems)
    if found is None and len(comparison.systems) == 2:
        return []
    best = _best(comparison, metric)
    others = numbers.listed(name for name in names if name != best)
    sentence = f"Not distinguishable from the best, {best}: {others}."
    if found is None:
        return [sentence]
    which = "The cheaper of the two" if len(names) == 2 else f"The cheapest of these {len(names)}"
    aside = ", training aside" if any(system.kind == "train" for system in systems) else ""
    return [f"{sentence} {which} is {found.name}: {found.price} per 1,000 dialogues{aside}."]


def _best(comparison: Comparison, metric: str) -> str:
    """Return the name of the system with the best score."""
    scored = [system for system in comparison.systems if metric in system.metrics]
    choose = min if numbers.is_lower_better(metric) else max
    return choose(scored, key=lambda system: system.metrics[metric].value).name


def _metric_of_verdict(comparison: Comparison) -> str | None:
    """Return the metric of the verdict: the first that all have for each dialogue, else the baseline's first."""
    pairs: dict[str, set[tuple[str, str]]] = {}
    for row in _telling(comparison):
        pairs.setdefault(row.metric, set()).add((row.a, row.b))
    most = max(map(len, pairs.values()), default=0)
    whole = [metric for metric, found in pairs.items() if len(found) == most]
    n = len(comparison.systems)
    if whole and most == n * (n - 1) // 2:
        return whole[0]
    with_baseline = (metric for metric, found in pairs.items() if any(comparison.baseline in pair for pair in found))
    return next(with_baseline, None)


class _Words:
    """Puts the differences of one metric into words.

    Args:
        comparison: what ``compare`` returns.
        metric: of the sentences.
    """

    def __init__(self, comparison: Comparison, metric: str) -> None:
        self.metric = metric
        self.dialogues = "one dialogue" if comparison.n == 1 else f"{numbers.count(comparison.n)} dialogues"
        rows = [row for row in comparison.differences if row.metric == metric]
        self.rows = {(row.a, row.b): row for row in rows} | {(row.b, row.a): _turned(row) for row in rows}

    def against(self, name: str, other: str) -> str:
        """Return how one system compares with the other, with the metric's name."""
        row = self.rows[name, other]
        if row.interval is None:
            return f"{self.dialogues} cannot tell {name} from {other}"
        unit, p_value = numbers.metric_title(self.metric), numbers.p_value(row.p_adjusted)
        if not row.is_real:
            return f"{name} is not distinguishable from {other}: {self._signed(row)} {unit} ({p_value})"
        won = "beats" if (row.difference > 0) != numbers.is_lower_better(self.metric) else "is worse than"
        return f"{name} {won} {other} by {self._size(row)} {unit} ({p_value})"

    def behind_best(self, name: str, best: str) -> str:
        """Return briefly how far a system is behind the best one."""
        row = self.rows[name, best]
        if row.interval is None:
            return f"nor from {best}"
        p_value = numbers.p_value(row.p_adjusted)
        if row.is_real:
            return f"{best} beats it by {self._size(row)} ({p_value})"
        return f"it is not distinguishable from {best}: {self._signed(row)} ({p_value})"

    def _size(self, row: Difference) -> str:
        return self._signed(row).lstrip(f"+{numbers.MINUS}")

    def _signed(self, row: Difference) -> str:
        assert row.interval is not None
        return numbers.difference_with_half_width(self.metric, row.difference, *row.interval)


def _turned(row: Difference) -> Difference:
    """Return the difference seen from the other side."""
    low, high = (None if end is None else -end for end in (row.ci_high, row.ci_low))
    turned = {"a": row.b, "b": row.a, "difference": -row.difference, "ci_low": low, "ci_high": high}
    return row.model_copy(update=turned)
