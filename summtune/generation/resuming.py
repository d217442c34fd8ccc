"""Runs a generator over the prompts that have no output yet, and keeps each output as soon as it is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from summtune.generation.distinct import DistinctPrompts
from summtune.generation.generator import Generator
from summtune.generation.partial import appending, mend, read_outputs

P = TypeVar("P")


@dataclass(frozen=True)
class World:
    """The processes that generate together; by default one alone.

    Args:
        rank: of this process.
        size: processes in all.
        wait: returns when every rank has called it.
    """

    rank: int = 0
    size: int = 1
    wait: Callable[[], object] = lambda: None


ALONE = World()


def generate_missing(
    generator: Generator[P],
    asked: DistinctPrompts[P],
    folder: Path,
    progress: Callable[[int, int], None],
    world: World = ALONE,
) -> None:
    """Have this rank's share of the missing outputs generated; return when all ranks have written theirs to ``folder``.

    Args:
        generator: of this rank.
        asked: the prompts, the same on all ranks.
        folder: of the partial files (`summtune.generation.partial`); created where it is missing.
        progress: called with the outputs that are done and their total. Outputs of other ranks are estimated: each
            rank is taken to be as far as this one.
        world: the processes that generate.

    Raises:
        RunDirectoryError: the folder holds something other than outputs.
    """
    folder.mkdir(exist_ok=True)
    if world.rank == 0:
        mend(folder)
    world.wait()
    found = read_outputs(folder)
    world.wait()  # no rank appends while another still reads
    done = {index for index, key in enumerate(asked.keys) if key in found}
    finished, total = len(done), len(asked.prompts)
    progress(finished, total)
    outputs = generator.generate(asked.prompts, frozenset(done))
    with contextlib.closing(outputs), appending(folder, world.rank) as append:
        for index, output in outputs:
            if index not in done:
                done.add(index)
                append(asked.keys[index], output)
                before, finished = finished, min(finished + world.size, total)
                if finished > before:  # this rank may write more than its share
                    progress(finished, total)
    world.wait()
