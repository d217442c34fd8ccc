"""Prints what a smoke run measured, and the arithmetic of the whole run's time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from summtune.base.console import SafeConsole, labelled
from summtune.base.numbers import counted, decimal, duration, size
from summtune.base.visible import message_line
from summtune.commands.smoke_forecast import Forecast, Term, TrainingMeasured
from summtune.plan.draft import TrainDraft

_TERM_CELLS = 60


def print_smoke_result(forecasts: Sequence[Forecast], seconds: float, waited: float, console: SafeConsole) -> None:
    """Print what passed, memory, seconds a step, and the forecast.

    Args:
        forecasts: of each run.
        seconds: that the smoke run took in all.
        waited: of these, in Slurm's queue.
        console: to print to.
    """
    rest = seconds - waited - math.fsum(each.measured for each in forecasts)
    _line(console, "smoke", f"passed in {duration(seconds)}")
    for each in forecasts:
        if len(forecasts) > 1:
            console.print()
            _line(console, "system", each.whole.name)
        _line(console, "passed", _passed(each))
        _line(console, "memory", _memory(each))
        if each.training is not None:
            _line(console, "step", _step(each.training, each.whole.ratio or 1.0))
        if len(forecasts) > 1:
            _sum(console, "takes", each.terms)
    if len(forecasts) > 1:
        console.print()
        terms = [Term(each.whole.name, each.seconds) for each in forecasts]
    else:
        terms = [*forecasts[0].terms]
    twice = any(each.training is not None for each in forecasts)
    started = "start-up (of trainings twice), scores, report" if twice else "start-up, scores, report"
    _sum(console, "whole run", [*terms, Term(started, rest)])
    if waited:
        console.print(f"{'':11}and the time in Slurm's queue; here {duration(waited)}")


def _passed(each: Forecast) -> str:
    parts = []
    if each.training is not None:
        parts = [f"2 steps of {counted(each.training.pairs, 'pair')}", "a checkpoint after step 1", "a resume from it"]
    if each.evaluated:
        parts.append(f"2 evaluations of {counted(each.evaluated, 'pair')}")
    summaries = f"{each.summarized:,} summar{'y' if each.summarized == 1 else 'ies'}"
    return ", ".join((*parts, summaries, "scores", "report"))


def _memory(each: Forecast) -> str:
    draft = each.whole.draft
    on_gpus = draft.predict.device == "cuda"
    generation = f"generation {size(each.generation_memory_bytes)}"
    where = "on the first GPU" if on_gpus else "in the first process, with Python and its libraries"
    if each.training is None or not isinstance(draft, TrainDraft):
        text = f"{generation} {where}"
    else:
        text = f"training {size(each.training.peak_memory_bytes)} {where}"
        without = "without what CUDA needs" if on_gpus else "without these"
        estimate = f"about {size(draft.memory.total)}, {without}" if draft.memory else "none for this model"
        text += f" (estimate: {estimate}); {generation}"
    smallest = min((gpu.memory_bytes for gpu in draft.gpus), default=None)
    return text if smallest is None else f"{text}; a GPU has {size(smallest)}"


def _step(training: TrainingMeasured, ratio: float) -> str:
    both = " and ".join(f"{decimal(step)} s" for step in training.steps)
    return (
        f"{decimal(training.step)} s, the faster of {both}: each is the first of its processes, so later ones are "
        f"faster; these pairs are the longest, {ratio:.1f} times the average"
    )


def _sum(console: SafeConsole, label: str, terms: Sequence[Term]) -> None:
    total = math.fsum(term.seconds for term in terms)
    _line(console, label, f"at most {duration(total)} =")
    for number, term in enumerate(terms):
        console.print(
            f"{'':11}{'+ ' if number else '  '}{message_line(term.text):<{_TERM_CELLS}}{duration(term.seconds)}"
        )


def _line(console: SafeConsole, name: str, text: str) -> None:
    console.print(labelled(f"{name:>9}", text), soft_wrap=True)
