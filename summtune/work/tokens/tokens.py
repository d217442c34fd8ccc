"""Tokenizes the dialogues of a role once, and stores the tokens in a cache that is shared between runs.

An entry is named by the SHA-256 of everything that determines its tokens, and never changes; a damaged file is built
again. Ranks and runs that need the same entry wait for the first of them; without file locks each builds its own, and
the last to finish replaces an equal file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from transformers import PreTrainedTokenizerBase

from summtune.base.cache import cache_folder
from summtune.base.files import read_jsonl, replacing
from summtune.base.hashing import content_sha256, hash_of
from summtune.base.numbers import counted
from summtune.runs.events import Events
from summtune.runs.records import Dialogue
from summtune.runs.statistics import TextLosses
from summtune.work.tokens.completions import completions
from summtune.work.tokens.encoding import EncodedPrompt, PromptEncoder
from summtune.work.tokens.lost_text import LostText
from summtune.work.tokens.pairs import Pair
from summtune.work.tokens.token_file import DamagedTokensError, TokenFile, TokenRow, TokenWriter

LARGEST = 8 << 30
"""Size limit of the cache in bytes; the least recently used entries are removed first."""

_FORMAT = 4  # raise it if prompts are rendered, encoded or cut differently, or the notes change
_AT_ONCE = 1000  # dialogues in memory
_ABANDONED = 24 * 3600  # seconds after which a temporary file counts as abandoned


@dataclass(frozen=True)
class Shown:
    """The solved examples of each prompt.

    Args:
        decided_by: everything that determines them, as JSON.
        choose: returns those of each dialogue; called only if the tokens are not cached.
    """

    decided_by: Any
    choose: Callable[[], Sequence[Sequence[Dialogue]]]


class Tokens:
    """The tokens of a role, memory-mapped.

    Args:
        file: written by `tokenize`.

    Attributes:
        prompts: one per dialogue.
        pairs: one per reference of each dialogue that is not dropped.
        file: with the rows of all prompts and completions.
        prompt_rows: of each dialogue, ascending.
        pair_prompts: the row of each pair's prompt.
        pair_labels: the row of each pair's completion.
        faults: what is wrong with the completion of each pair (`summtune.work.tokens.completions.Fault`).
        truncated: number of dialogues that do not fit.
        exemplars: ids of the dialogues that are shown as solved examples, sorted.
        lost: what the tokenizer loses of the texts.
    """

    def __init__(self, file: TokenFile) -> None:
        self.prompts: Sequence[EncodedPrompt] = _Prompts(file)
        self.pairs: Sequence[Pair] = _TokenPairs(file)
        self.file = file
        self.prompt_rows: npt.NDArray[np.int64] = file.table("prompts")
        self.pair_prompts: npt.NDArray[np.int64] = file.table("pair_prompts")
        self.pair_labels: npt.NDArray[np.int64] = file.table("pair_labels")
        self.faults: npt.NDArray[np.int64] = file.table("faults")
        self.truncated: int = file.notes["truncated"]
        self.exemplars: list[str] = file.notes["exemplars"]
        self.lost = TextLosses.model_validate(file.notes["lost"], strict=False)


def tokens_of(
    data: Path,
    encoder: PromptEncoder,
    ends: Sequence[int] | None,
    fallback: Path,
    events: Events,
    shown: Shown | None = None,
) -> Tokens:
    """Return the tokens of ``data``, from the cache if it has them.

    Args:
        data: dialogues, as the command wrote them.
        encoder: of the prompts.
        ends: the ids that end a generated summary; None for no pairs.
        fallback: folder for the tokens if it exists or the cache is not writable.
        events: receives the origin of the tokens.
        shown: solved examples; none by default.

    Raises:
        DataError: a prompt without its dialogue exceeds sequence_len.
    """
    key = entry_key(data, encoder, ends, shown)
    found = None
    if not fallback.is_dir():
        with contextlib.suppress(OSError, RuntimeError):  # not writable, full, or no home folder
            found = _entry(cache_folder("tokens") / key, data, encoder, ends, shown)
    file, cached = found or _entry(fallback / key, data, encoder, ends, shown)
    tokens = Tokens(file)
    origin = "tokens read from the cache" if cached else "tokenized"
    events.say(f"{data.stem}: {counted(len(tokens.prompts), 'dialogue')}, {origin}")
    return tokens


def entry_key(data: Path, encoder: PromptEncoder, ends: Sequence[int] | None, shown: Shown | None) -> str:
    """Return the name of an entry: 64 hex digits, a hash of everything that determines its tokens."""
    return hash_of(
        {
            "format": _FORMAT,
            "versions": {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers")},
            "data": content_sha256(data),
            "tokenizer": _tokenizer_sha256(encoder.tokenizer),
            "form": encoder.form.model_dump(mode="json"),
            "continued": encoder.continued,
            "sequence_len": encoder.sequence_len,
            "long_dialogues": encoder.long_dialogues,
            "ends": ends and list(ends),
            "exemplars": shown.decided_by if shown else None,
        }
    )


def _tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of the loaded tokenizer, regardless of the files that it was loaded from."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for changed_by_use in ("padding", "truncation"):
        state.pop(changed_by_use, None)
    special = [tokenizer.unk_token_id, sorted(tokenizer.all_special_ids)]
    return hash_of([type(tokenizer).__name__, tokenizer.eos_token_id, special, state])


def _entry(
    path: Path, data: Path, encoder: PromptEncoder, ends: Sequence[int] | None, shown: Shown | None
) -> tuple[TokenFile, bool]:
    """Return the entry, and whether it already existed."""
    found = _opened(path)
    if found is not None:
        return found, True
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")):
        found = _opened(path)  # another rank may have built it in the meantime
        if found is None:
            with replacing(path) as file:
                tokenize(file, read_jsonl(data), encoder, ends, shown)
            _bound(path.parent, keep=path)
            found = TokenFile(path)
    return found, False


def _opened(path: Path) -> TokenFile | None:
    try:
        file = TokenFile(path)
    except (FileNotFoundError, DamagedTokensError):
        return None
    with contextlib.suppress(OSError):  # the file is another user's
        os.utime(path)
    return file


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):  # a file system without locks
            stack.enter_context(lock)
        yield


def tokenize(
    file: Any, rows: Iterable[dict[str, Any]], encoder: PromptEncoder, ends: Sequence[int] | None, shown: Shown | None
) -> None:
    """Write the tokens of dialogues, a thousand at a time.

    Args:
        file: empty, open for writing.
        rows: dialogues as in ``data/*.jsonl``.
        encoder: of the prompts; if it only marks long dialogues, these have no pairs.
        ends: the ids that end a generated summary; None for no pairs.
        shown: solved examples.
    """
    tokenizer = encoder.tokenizer
    writer = TokenWriter(file, len(tokenizer))
    exemplars = iter(shown.choose()) if shown else itertools.repeat(())
    prompts, truncated, pair_prompts, pair_labels, faults = (array("q") for _ in range(5))
    used: set[str] = set()
    lost = LostText(encoder)
    remaining = (Dialogue.from_json(row) for row in rows)
    while dialogues := list(itertools.islice(remaining, _AT_ONCE)):
        solved = list(itertools.islice(exemplars, len(dialogues)))
        used.update(one.id for group in solved for one in group)
        encoded = encoder.encode(dialogues, solved)
        numbers = writer.add([prompt.ids for prompt in encoded])
        prompts.extend(numbers)
        truncated.extend(prompt.truncated for prompt in encoded)
        dropped = [prompt.truncated and encoder.long_dialogues == "drop" for prompt in encoded]
        lost.prompts(dialogues, solved, encoded)
        if ends is None:
            lost.references(dialogues)
            continue
        trained = [
            (place, reference)
            for place, (left_out, dialogue) in enumerate(zip(dropped, dialogues, strict=True))
            if not left_out
            for reference in dialogue.references
        ]
        summaries = [reference for _, reference in trained]
        asked, exemplars_of = [encoded[place] for place, _ in trained], [solved[place] for place, _ in trained]
        labels = completions(encoder, asked, exemplars_of, summaries, ends)
        by_themselves = encoder.encode_summaries(summaries) if encoder.continued else [one[:2] for one in labels]
        lost.summaries([dialogues[place].id for place, _ in trained], summaries, by_themselves)
        faults.extend(one.faults for one in labels)
        pair_prompts.extend(numbers[place] for place, _ in trained)
        pair_labels.extend(writer.add([one.ids for one in labels]))
    tables = {
        "prompts": prompts,
        "truncated": truncated,
        "pair_prompts": pair_prompts,
        "pair_labels": pair_labels,
        "faults": faults,
    }
    notes = {"truncated": sum(truncated), "exemplars": sorted(used), "lost": lost.to_json()}
    writer.close(tables, notes)


def _bound(folder: Path, keep: Path) -> None:
    """Delete the least recently used entries while the cache is too large, and abandoned temporary files."""
    entries: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another run deletes too
            stat = path.stat()
            if path.name.startswith("."):
                if path.suffix == ".tmp" and stat.st_mtime < time.time() - _ABANDONED:
                    path.unlink()
            elif path != keep:
                entries.append((stat.st_mtime, stat.st_size, path))
    total = keep.stat().st_size + sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LARGEST:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


class _Prompts(Sequence[EncodedPrompt]):
    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._rows = file.table("prompts")
        self._truncated = file.table("truncated")

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> EncodedPrompt: ...
    @overload
    def __getitem__(self, place: slice) -> list[EncodedPrompt]: ...
    def __getitem__(self, place: int | slice) -> EncodedPrompt | list[EncodedPrompt]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        return EncodedPrompt(TokenRow(self._file, int(self._rows[place])), bool(self._truncated[place]))


class _TokenPairs(Sequence[Pair]):
    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._prompts = file.table("pair_prompts")
        self._labels = file.table("pair_labels")

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        prompt, labels = int(self._prompts[place]), int(self._labels[place])
        return Pair(input_ids=TokenRow(self._file, prompt), labels=TokenRow(self._file, labels))
