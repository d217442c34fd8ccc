"""Finds systems with identical outputs: a model that training did not change, or one run under two names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from summtune.evaluator.systems import ScoredSystem
from summtune.runs.comparison import IdenticalOutputs, SharedOutputs
from summtune.runs.diagnostics import Finding

_EXAMPLES = 5
_SHOWN_CHARACTERS = 80
_MUCH = 0.5
"""Share of equal outputs from which on a warning is given: different models rarely agree to the letter."""


def identical_outputs(pairs: Sequence[tuple[ScoredSystem, ScoredSystem]]) -> IdenticalOutputs:
    """Return the check ``identical_outputs`` of ``comparison.json``.

    ``count`` is the number of pairs of systems that wrote the same for every dialogue, ``pairs`` holds for each pair
    on how many dialogues (``count`` ``of``) they agree, and ``examples`` lists dialogues of pairs that agree on all.

    Args:
        pairs: every two systems.
    """
    rows: list[SharedOutputs] = []
    examples: list[Finding] = []
    for a, b in pairs:
        same = [id_ for id_, text in a.outputs.items() if b.outputs[id_] == text]
        rows.append(SharedOutputs(a=a.name, b=b.name, count=len(same), of=len(a.outputs)))
        if len(same) == len(a.outputs):
            examples += [Finding(id=id_, found=a.outputs[id_][:_SHOWN_CHARACTERS]) for id_ in same[:_EXAMPLES]]
    return IdenticalOutputs(
        title="Identical systems",
        meaning="Two systems wrote the same, letter by letter, for every dialogue.",
        count=sum(row.count == row.of for row in rows),
        of=len(rows),
        references=None,
        examples=tuple(examples[:_EXAMPLES]),
        pairs=tuple(rows),
    )


def warnings(check: IdenticalOutputs, trained_on: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for every two systems that agree on half of the dialogues or more.

    Args:
        check: what ``identical_outputs`` returned.
        trained_on: names of trained systems with the name of the system that is their base.
    """
    for row in check.pairs:
        a, b, count, of = row.a, row.b, row.count, row.of
        if count == of:
            hint = "; its training may have changed nothing" if trained_on.get(a) == b else ""
            yield f"{a} wrote exactly what {b} wrote for every dialogue{hint}."
        elif count >= _MUCH * of:
            yield f"{a} wrote exactly what {b} wrote for {count} of {of} dialogues."
