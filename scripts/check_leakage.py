r"""Check that no dialogue of the built-in test split occurs, exactly or nearly, among training texts.

    PYTHONPATH=. python scripts/check_leakage.py
    PYTHONPATH=. python scripts/check_leakage.py --texts pretraining_0.jsonl pretraining_1.jsonl

Without ``--texts`` the test split is compared with the train and validation splits and ``--stream`` dialogues of the
endless stream. The rows of ``--texts`` have one training text each, which may be a whole prompt, under ``dialogue``.
The exit code is 1 if a copy is found, 2 if the call or a file is invalid. summtune/data/leakage.py defines similarity.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from summtune.base.errors import DataError, InputError, SummtuneError
from summtune.data.builtin import dialogues, stream
from summtune.data.leakage import SHINGLE_WORDS, THRESHOLD, Closest, closest
from summtune.runs.records import Dialogue

# Where a training text comes from, and the text.
Source = tuple[str, str]
SHOWN_COPIES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, check, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", type=int, default=20_000, metavar="N", help="dialogues of the stream to check")
    parser.add_argument("--seed", type=int, default=0, help="of the stream")
    parser.add_argument(
        "--texts", type=Path, nargs="+", metavar="FILE.jsonl", help="check these instead of the splits and the stream"
    )
    args = parser.parse_args(arguments)

    def sources() -> Iterator[Source]:
        return read_texts(args.texts) if args.texts else builtin_texts(args.stream, args.seed)

    try:
        return check(list(dialogues("test")), sources)
    except (SummtuneError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def check(tests: Sequence[Dialogue], sources: Callable[[], Iterable[Source]]) -> int:
    """Print how similar the training texts are to the tests; return 1 if one is a copy, otherwise 0.

    Args:
        tests: the dialogues that must not be seen in training.
        sources: returns the training texts from the first one on, each time it is called.

    Raises:
        DataError: there is no training text, so nothing was checked.
    """
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for _, text in sources():
            read += 1
            yield text

    nearest = closest([test.dialogue for test in tests], counted())
    if read == 0:
        raise DataError(f"there is nothing to check (got {read} training texts); give files that hold some")
    similarities = [one.similarity for one in nearest]
    median, high, most = 100 * np.quantile(similarities, (0.5, 0.95, 1.0))
    print(f"{len(tests)} test dialogues against {read:,} training texts")
    print(f"share of a test dialogue's {SHINGLE_WORDS}-word shingles in the training text that has most of them:")
    print(f"median {median:.1f} %, 95th percentile {high:.1f} %, maximum {most:.1f} %")
    _print_closest(tests, nearest, sources)
    return _print_copies(tests, nearest)


def builtin_texts(stream_length: int, seed: int) -> Iterator[Source]:
    """Yield the dialogues of the train and validation splits and the first ones of a stream.

    Raises:
        InputError: the number of dialogues of the stream is negative.
    """
    if stream_length < 0:
        raise InputError(f"--stream must not be negative (got --stream {stream_length}); give a number from 0")
    for split in ("train", "validation"):
        for one in dialogues(split):
            yield one.id, one.dialogue
    for one in islice(stream(seed), stream_length):
        yield f"{one.id} of seed {seed}", one.dialogue


def read_texts(files: Iterable[Path]) -> Iterator[Source]:
    """Yield the ``dialogue`` of every row of ``.jsonl`` files; blank lines are skipped.

    Raises:
        DataError: a line is not a JSON object with a text under ``dialogue``.
        OSError: a file cannot be read.
    """
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{file}:{number}", _dialogue_of(line, f"{file}:{number}")


def _dialogue_of(line: str, place: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON (got {line.strip()[:80]!r}); write one object per line") from error
    if not isinstance(row, dict) or not isinstance(row.get("dialogue"), str):
        raise DataError(f"{place}: no text under 'dialogue' (got {line.strip()[:80]}); write one text per row")
    return str(row["dialogue"])


def _print_closest(
    tests: Sequence[Dialogue], nearest: Sequence[Closest], sources: Callable[[], Iterable[Source]]
) -> None:
    place = max(range(len(tests)), key=lambda test: (nearest[test].similarity, nearest[test].exact))
    training = nearest[place].training
    if training is None:
        return
    # Read again up to that text, instead of keeping a text for every test dialogue.
    source, text = next(islice(sources(), training, None))
    print(
        f"\nThe closest pair ({100 * nearest[place].similarity:.1f} %):\n\n{tests[place].id}\n{tests[place].dialogue}"
    )
    print(f"\n{source}\n{text}\n")


def _print_copies(tests: Sequence[Dialogue], nearest: Sequence[Closest]) -> int:
    """Print which tests have a copy; return 1 if any has, otherwise 0."""
    copies = [(test.id, one) for test, one in zip(tests, nearest, strict=True) if one.similarity >= THRESHOLD]
    exact = sum(one.exact for _, one in copies)
    print(f"test dialogues with an exact copy: {exact}, with a near copy (from {100 * THRESHOLD:.0f} %):", end=" ")
    print(len(copies) - exact)
    for name, one in copies[:SHOWN_COPIES]:
        print(f"  {name}: training text {one.training}, {'exact' if one.exact else f'{100 * one.similarity:.1f} %'}")
    if len(copies) > SHOWN_COPIES:
        print(f"  and {len(copies) - SHOWN_COPIES} more")
    return int(bool(copies))


if __name__ == "__main__":
    sys.exit(main())
