"""Which of the systems that may be the best is the cheapest to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from summtune.base import numbers
from summtune.runs.comparison import ComparedSystem


@dataclass(frozen=True)
class Cheapest:
    """The cheapest of several systems.

    Args:
        name: of the system.
        price: of 1,000 dialogues without training, in words.
    """

    name: str
    price: str


def cheapest(systems: Sequence[ComparedSystem]) -> Cheapest | None:
    """Return the system whose dialogues cost the least; None if that is unknown of one of them.

    Money counts where all have it in one currency, else device-hours of generation where all are of the same kind of
    device. Of equal ones it is the first.

    Args:
        systems: one or more.
    """
    by_money = _least(systems, [each.cost.money_per_1000_dialogues for each in systems])
    currency = _shared([each.cost.currency for each in systems])
    if by_money is not None and currency is not None:
        return Cheapest(by_money[0], numbers.money(by_money[1], currency))
    by_hours = _least(systems, [each.cost.per_1000(each.cost.generation_device_hours) for each in systems])
    device = _shared([each.cost.device for each in systems])
    if by_hours is not None and device is not None:
        unit = "GPU-hours" if device == "cuda" else "device-hours"
        return Cheapest(by_hours[0], f"{numbers.significant(by_hours[1])} {unit}")
    return None


def _least(systems: Sequence[ComparedSystem], amounts: Sequence[float | None]) -> tuple[str, float] | None:
    known = [(each.name, amount) for each, amount in zip(systems, amounts, strict=True) if amount is not None]
    return min(known, key=lambda one: one[1]) if len(known) == len(systems) else None


def _shared(values: Sequence[str | None]) -> str | None:
    """Return the value that all have; None if they differ or one is unknown."""
    return values[0] if len(set(values)) == 1 else None
