"""The requests that were sent: an append-only file, so that a resumed run knows what may have been charged for.

A request is written before it is sent. One that has no end in the file was cut off by a kill: it counts as charged for.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from summtune.base.strict import Count, StrictModel, read_model_lines

LEDGER_FILE = "requests.jsonl"
ANSWERED, REFUSED, INTERRUPTED = "answered", "refused", "interrupted"
"""How a request ends that no fault ends (`summtune.generation.endpoint.faults.Cause`)."""


class Tokens(NamedTuple):
    """Tokens that are charged for, of prompts and generated."""

    prompt: int
    new: int

    def __add__(self, other: object) -> Tokens:
        """Return the sum of both kinds."""
        if not isinstance(other, Tokens):
            return NotImplemented
        return Tokens(self.prompt + other.prompt, self.new + other.new)


NOTHING = Tokens(0, 0)


class _Line(StrictModel):
    """One line: a request that is sent, with the most it can be charged for, or one that ended, with what it was."""

    request: Count
    ended: str | None = None
    prompt_tokens: Count
    new_tokens: Count


@dataclass
class Ledger:
    """The requests of every attempt of a run so far.

    Args:
        sent: how many.
        retries: by cause, those that got no usable answer.
        unanswered: those without a whole answer that the server may have charged for.
        charged: tokens that the server counted, or at most counted.
        open: those that have not ended, with the most that they can be charged for.
    """

    sent: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    charged: Tokens = NOTHING
    open: dict[int, Tokens] = field(default_factory=dict)

    def send(self, at_most: Tokens) -> int:
        """Record a request that is about to be sent, and return its number."""
        self.sent += 1
        self.open[self.sent] = at_most
        self._write(self.sent, None, at_most)
        return self.sent

    def end(self, request: int, how: str, charged: Tokens) -> None:
        """Record how a request ended: `ANSWERED` or a cause, and the tokens that the server charges for at most."""
        del self.open[request]
        self._count(how, charged)
        self._write(request, how, charged)

    def give_up(self) -> None:
        """Count the requests that have not ended as charged for: nobody waits for them."""
        for at_most in self.open.values():
            self._count(INTERRUPTED, at_most)
        self.open.clear()

    def _count(self, how: str, charged: Tokens) -> None:
        self.charged += charged
        if how != ANSWERED:
            self.retries[how] += 1
            self.unanswered += charged != NOTHING

    def _write(self, request: int, how: str | None, tokens: Tokens) -> None:
        """Keep a line in the file; a ledger without a file keeps none."""


class _KeptLedger(Ledger):
    """A ledger whose lines are kept.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        if path.exists():
            self._read(path)
        self._file = path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._file.close()

    def _read(self, path: Path) -> None:
        for line in read_model_lines(_Line, path):
            tokens = Tokens(line.prompt_tokens, line.new_tokens)
            if line.ended is None:
                self.sent = max(self.sent, line.request)
                self.open[line.request] = tokens
            elif self.open.pop(line.request, None) is not None:
                self._count(line.ended, tokens)
        self.give_up()

    def _write(self, request: int, how: str | None, tokens: Tokens) -> None:
        ended = {} if how is None else {"ended": how}
        line = {"request": request, **ended, "prompt_tokens": tokens.prompt, "new_tokens": tokens.new}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()  # before the request is sent


@contextlib.contextmanager
def ledger_in(folder: Path | None) -> Iterator[Ledger]:
    """Yield the ledger of a run.

    Args:
        folder: of the partial files, whose last lines are complete (`summtune.generation.partial.mend`); None keeps
            no file.

    Raises:
        RunDirectoryError: the file holds something other than a ledger.
    """
    if folder is None:
        yield Ledger()
        return
    ledger = _KeptLedger(folder / LEDGER_FILE)
    with contextlib.closing(ledger):
        yield ledger
