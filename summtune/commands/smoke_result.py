"""Prints what a smoke run measured, and the arithmetic of the whole run's time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from summtune.base.console import SafeConsole, labelled
from summtune.base.numbers import counted, decimal, duration, size
from summtune.base.visible import message_line
from summtune.commands.smoke_forecast import Forecast, Term, TrainingMeasured
from summtune.plan.draft import EndpointDraft, LocalDraft, TrainDraft

_TERM_CELLS = 60


def print_smoke_result(
    forecasts: Sequence[Forecast], seconds: float, waited: float, console: SafeConsole, outputs: int = 0
) -> None:
    """Print what passed, memory, seconds a step, and the forecast.

    Args:
        forecasts: of each run.
        seconds: that the smoke run took in all.
        waited: of these, in Slurm's queue.
        console: to print to.
        outputs: number of files of outputs that were scored as further systems.
    """
    rest = max(0.0, seconds - waited - math.fsum(each.measured for each in forecasts))
    systems = len(forecasts) + outputs
    several = systems > 1
    what = f"{systems} systems and their comparison" if several else _passed(forecasts[0])
    _line(console, "smoke", f"passed in {duration(seconds)}: {what}")
    for each in forecasts:
        if several:
            console.print()
            _line(console, "system", f"{each.whole.name}: {_passed(each)}")
        _line(console, "memory", _memory(each))
        if each.training is not None:
            _line(console, "step", _step(each.training, each.whole.ratio or 1.0))
        if several:
            _sum(console, "takes", each.terms)
    if several:
        console.print()
    terms = [Term(each.whole.name, each.seconds) for each in forecasts] if several else forecasts[0].terms
    twice = any(each.training is not None for each in forecasts)
    started = "start-up (here of each training twice), scores, report" if twice else "start-up, scores, report"
    _sum(console, "whole run", [*terms, Term(started, rest)])
    if waited:
        console.print(f"{'':11}and the time in Slurm's queue, which was {duration(waited)} here")


def _passed(each: Forecast) -> str:
    parts = []
    if each.training is not None:
        parts = [f"2 steps of {counted(each.training.pairs, 'pair')}", "a checkpoint after step 1", "a resume from it"]
    if each.evaluated:
        parts.append(f"2 evaluations of {counted(each.evaluated, 'pair')}")
    summaries = f"{each.summarized:,} summar{'y' if each.summarized == 1 else 'ies'}"
    return ", ".join((*parts, summaries, "scores", "report"))


def _memory(each: Forecast) -> str:
    """Return the peaks of the first process; they are those of all, since each has the same share."""
    draft, generation = each.whole.draft, each.generation_memory_bytes
    if isinstance(draft, EndpointDraft):
        return "none but the command's: the server has the model"
    on_gpus = draft.predict.device == "cuda"
    where = "on the first GPU" if on_gpus else "in the first process, with Python and its libraries"
    unknown = "not measured: vLLM reserves what it finds"
    if each.training is None:
        parts = [unknown if generation is None else f"generation {size(generation)} {where}"]
    else:
        peak = each.training.peak_memory_bytes
        parts = [f"training {size(peak)} {where}", _estimate(draft, on_gpus)]
        if generation is None:
            parts.append(f"generation {unknown}")
        else:  # the same processes may have trained before, and the peak is that of a process
            parts.append(f"generation {size(generation) if generation > 1.02 * peak else 'no more'}")
    smallest = min((gpu.memory_bytes for gpu in draft.gpus), default=None)
    return "; ".join(parts if smallest is None else [*parts, f"a GPU has {size(smallest)}"])


def _estimate(draft: LocalDraft, on_gpus: bool) -> str:
    memory = draft.memory if isinstance(draft, TrainDraft) else None
    if memory is None:
        return "no estimate for this model"
    without = "what CUDA itself takes" if on_gpus else "these"
    length = f"prompts of {draft.recipe.sequence_len:,} tokens"
    return f"estimate {size(memory.total)} for {length}, without {without}"


def _step(training: TrainingMeasured, ratio: float) -> str:
    both = " and ".join(f"{decimal(step)} s" for step in training.steps)
    text = f"{decimal(training.step)} s, the faster of {both}, each the first of its processes"
    return f"{text}; its pairs are the longest, {ratio:.1f} times the average in characters"


def _sum(console: SafeConsole, label: str, terms: Sequence[Term]) -> None:
    total = math.fsum(term.seconds for term in terms)
    _line(console, label, f"at most {duration(total)} =")
    for number, term in enumerate(terms):
        console.print(
            f"{'':11}{'+ ' if number else '  '}{message_line(term.text):<{_TERM_CELLS}}{duration(term.seconds)}"
        )


def _line(console: SafeConsole, name: str, text: str) -> None:
    console.print(labelled(f"{name:>9}", text), soft_wrap=True)
