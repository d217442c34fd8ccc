"""From how many dialogues on a trained system costs less than one that is only prompted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.base.visible import one_line
from summtune.runs.comparison import ComparedSystem, SystemKind

MOST_DIALOGUES = 1e12
"""A system that costs less only from more dialogues on does not count as one that ever does."""
NOISE = 0.1
"""Share of a trained system's cost of a dialogue by which another must exceed it: its time is measured once."""


@dataclass(frozen=True)
class Line:
    """What a system costs in total for any number of dialogues, in one currency or in device-hours.

    Args:
        place: of the system in the comparison.
        name: of the system.
        kind: of the system.
        once: to train it.
        each: for one dialogue.
    """

    place: int
    name: str
    kind: SystemKind
    once: float
    each: float

    def total(self, dialogues: float) -> float:
        """Return what so many dialogues cost, training included."""
        return self.once + self.each * dialogues


@dataclass(frozen=True)
class Crossing:
    """Where a trained system begins to cost less than a prompted one.

    Args:
        trained: its line.
        prompted: that of the other.
        dialogues: at which both cost the same, 0 if the trained one costs less from the first on; None if it never
            costs less, or if that is within the noise of a measurement.
    """

    trained: Line
    prompted: Line
    dialogues: float | None


@dataclass(frozen=True)
class BreakEven:
    """The lines of the systems whose money is known, and what they say.

    Args:
        lines: by currency, those of at least two systems.
        sentences: one for every trained and every prompted system.
        notes: what is unknown, cannot be compared, or was done by another run.
    """

    lines: dict[str, tuple[Line, ...]]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]


def break_even(systems: Sequence[ComparedSystem], hours: str = "device-hours") -> BreakEven | None:
    """Return the break-even of the systems; None if nothing can be said of it.

    A system costs its training once and an amount for each dialogue, so a trained one costs less than a prompted one
    from (cost of training) / (difference of the amounts) dialogues on. A difference within `NOISE` does not count. If
    no system has a price, device-hours of the same kind of device are compared instead. Money of different currencies
    is not.

    Args:
        systems: of a comparison.
        hours: what device-hours are called within a sentence.
    """
    lines: dict[str, list[Line]] = {}
    for place, system in enumerate(systems):
        cost = system.cost
        if cost.currency is not None and cost.training_money is not None and cost.money_per_1000_dialogues is not None:
            line = Line(place, system.name, system.kind, cost.training_money, cost.money_per_1000_dialogues / 1000)
            lines.setdefault(cost.currency, []).append(line)
    sentences = [_money_sentence(each, currency) for currency, found in lines.items() for each in crossings(found)] or (
        [] if lines else [_hours_sentence(each, hours) for each in _crossings_in_hours(systems)]
    )
    notes = tuple(_notes(systems, list(lines)))
    if not sentences and not notes:
        return None
    drawn = {currency: tuple(found) for currency, found in lines.items() if len(found) > 1}
    return BreakEven(drawn, tuple(sentences), notes)


def crossings(lines: Sequence[Line]) -> Iterator[Crossing]:
    """Yield the crossing of each trained system's line with that of each prompted one."""
    for trained in lines:
        for prompted in lines:
            if trained.kind == "train" and prompted.kind == "prompt":
                yield Crossing(trained, prompted, _dialogues(trained, prompted))


def _dialogues(trained: Line, prompted: Line) -> float | None:
    saved = prompted.each - trained.each
    if saved <= NOISE * trained.each:
        return None
    dialogues = max(0.0, (trained.once - prompted.once) / saved)
    return dialogues if dialogues <= MOST_DIALOGUES else None


def _crossings_in_hours(systems: Sequence[ComparedSystem]) -> Iterator[Crossing]:
    lines: dict[str, list[Line]] = {}
    for place, system in enumerate(systems):
        once, each = system.cost.training_device_hours, system.cost.per_1000(system.cost.generation_device_hours)
        if system.cost.device is not None and once is not None and each is not None:
            lines.setdefault(system.cost.device, []).append(Line(place, system.name, system.kind, once, each / 1000))
    for found in lines.values():
        yield from crossings(found)


def _money_sentence(crossing: Crossing, currency: str) -> str:
    return _sentence(crossing, "costs less", "cost", lambda value: numbers.money(value, currency))


def _hours_sentence(crossing: Crossing, hours: str) -> str:
    return _sentence(crossing, f"takes fewer {hours}", "take", lambda value: f"{numbers.significant(value)} {hours}")


def _sentence(crossing: Crossing, less: str, verb: str, shown: Callable[[float], str]) -> str:
    trained, prompted = crossing.trained, crossing.prompted
    name, other = one_line(trained.name), one_line(prompted.name)
    ours, theirs = shown(1000 * trained.each), shown(1000 * prompted.each)
    why = f"1,000 dialogues {verb} {ours} instead of {theirs}, and training {shown(trained.once)}"
    if crossing.dialogues is None and 0 < prompted.each - trained.each <= NOISE * trained.each:
        return f"It is open whether {name} ever {less} than {other}: {why}. Measured times vary by more than that."
    if crossing.dialogues is None:
        return f"{name} never {less} than {other}: {why}."
    first = math.floor(crossing.dialogues) + 1
    if first == 1:
        return f"{name} {less} than {other} from the first dialogue on: {why}."
    return f"From about {numbers.about(first)} dialogues on, {name} {less} than {other}: {why}."


def _notes(systems: Sequence[ComparedSystem], currencies: Sequence[str]) -> Iterator[str]:
    """Yield what a reader of the costs must know: what is unknown, not compared, or done by another run."""
    if len(currencies) > 1:
        yield (f"Money in {' and '.join(currencies)} is neither added nor compared; give all prices in one currency.")
    unknown = [one_line(system.name) for system in systems if system.cost.money is None]
    if currencies and unknown:
        yield f"The money of {numbers.listed(unknown)} is unknown."
    for system in systems:
        stages = {"training": system.cost.training_made_by, "generation": system.cost.generation_made_by}
        for stage, maker in stages.items():
            if maker is not None:
                yield (
                    f"The {stage} of {one_line(system.name)} was done once, by {one_line(maker)}, and has the cost "
                    "of that run."
                )
