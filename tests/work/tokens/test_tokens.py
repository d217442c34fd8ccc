import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_inputs import dialogues, write_rows

from summtune.base.errors import DataError
from summtune.base.files import read_jsonl
from summtune.prompts.formats import TextFormat
from summtune.runs.events import Events, events_file
from summtune.runs.records import Dialogue
from summtune.runs.statistics import LossTally
from summtune.work.models.loading import load_tokenizer
from summtune.work.tokens import tokens as tokens_module
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.tokens import Shown, entry_key, tokens_of

TEMPLATE = "Summarize: {dialogue} Summary:"


def made_dialogues():
    rows = [*dialogues(7), *dialogues(5, seed=1)]
    return [Dialogue(row["id"], row["dialogue"], (row["summary"], "They agree.")) for row in rows]


@pytest.fixture
def made(tmp_path, tokenizer, monkeypatch):
    """Dialogues with two references each, a cache of the test's own, and a function that asks for tokens."""

    class Made:
        cache = tmp_path / "cache"
        data = tmp_path / "data" / "train.jsonl"
        fallback = tmp_path / "fallback"
        asked = made_dialogues()

        def encoder(self, sequence_len=512, template=TEMPLATE, **options):
            return PromptEncoder(tokenizer, TextFormat(template=template), sequence_len, **options)

        def tokens(self, encoder=None, ends=(1,), shown=None):
            return tokens_of(
                self.data,
                encoder or self.encoder(),
                ends,
                self.fallback,
                self.events,
                shown,
            )

        @property
        def entries(self):
            return [path for path in sorted((self.cache / "tokens").glob("*")) if not path.name.startswith(".")]

        @property
        def texts(self):
            return [event["text"] for event in read_jsonl(events_file(tmp_path))]

        events = Events(tmp_path, "train", 0)

    monkeypatch.setenv("SUMMTUNE_CACHE", str(Made.cache))
    (tmp_path / "logs").mkdir()
    Made.data.parent.mkdir()
    write_rows(Made.data, [one.to_json() for one in Made.asked])
    return Made()


@pytest.fixture
def no_tokenizing(monkeypatch):
    """Make any further tokenizing fail."""

    def start():
        def refuse(*_):
            raise AssertionError("a second start does not tokenize")

        monkeypatch.setattr(PromptEncoder, "encode", refuse)
        monkeypatch.setattr(tokens_module, "tokenize", refuse)

    return start


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_cached_ids_equal_those_of_the_encoder(made, tokenizer, monkeypatch, at_once):
    monkeypatch.setattr(tokens_module, "_AT_ONCE", at_once)
    encoder = made.encoder(120)
    found = made.tokens(encoder)
    expected = encoder.encode(made.asked)
    assert [(list(one.ids), one.truncated) for one in found.prompts] == [(one.ids, one.truncated) for one in expected]
    assert 0 < found.truncated == sum(one.truncated for one in expected) < len(expected)
    assert [(pair["input_ids"], pair["labels"]) for pair in found.pairs] == [
        (prompt.ids, tokenizer(reference)["input_ids"])
        for prompt, one in zip(expected, made.asked, strict=True)
        for reference in one.references
    ]


def test_slices_and_ends_of_prompts_and_pairs(made):
    found = made.tokens()
    assert found.prompts[-1].ids == found.prompts[11].ids
    assert [one.ids for one in found.prompts[2:4]] == [found.prompts[2].ids, found.prompts[3].ids]
    assert found.pairs[1:3] == [found.pairs[1], found.pairs[2]]


def test_losses_are_stored_with_the_tokens(made, no_tokenizing):
    made.asked[0] = Dialogue("lost", "Anna: 客服 </s>", ("客服", "fine"))
    write_rows(made.data, [one.to_json() for one in made.asked])
    first = made.tokens()
    no_tokenizing()
    assert made.tokens().lost == first.lost
    prompts, summaries = first.lost.prompts, first.lost.summaries
    assert prompts.lost["unknown"] == LossTally(texts=1, tokens=1, characters=2, examples=(("lost", "客服"),))
    assert prompts.lost["control"].examples == (("lost", "</s>"),)
    assert (summaries.texts, summaries.lost["unknown"].texts) == (2 * len(made.asked), 1)


def test_losses_of_references_are_counted_even_without_pairs(made):
    made.asked[0] = Dialogue("lost", "Anna: hi", ("客服", "fine"))
    write_rows(made.data, [one.to_json() for one in made.asked])
    summaries = made.tokens(ends=None).lost.summaries
    assert summaries.texts == 2 * len(made.asked)
    assert summaries.characters == sum(len(text) for one in made.asked for text in one.references)
    assert summaries.lost.keys() == {"unknown"}


def test_a_typed_end_of_sequence_does_not_end_a_label(made, tokenizer):
    made.asked[:] = [Dialogue("a", "Anna: hi", (20 * "fine </s> ",))]
    write_rows(made.data, [one.to_json() for one in made.asked])
    (pair,) = made.tokens().pairs
    ends = [at for at, token in enumerate(pair["labels"]) if token == tokenizer.eos_token_id]
    assert ends == [len(pair["labels"]) - 1]


def test_dialogues_that_are_dropped_have_no_pairs(made):
    found = made.tokens(made.encoder(120, long_dialogues="drop"))
    assert 0 < found.truncated < 12
    assert len(found.pairs) == 2 * (12 - found.truncated)
    assert all(len(pair["input_ids"]) <= 120 for pair in found.pairs)


def test_there_are_no_pairs_without_ends(made):
    found = made.tokens(ends=None)
    assert (len(found.prompts), len(found.pairs)) == (12, 0)


def test_a_second_start_does_not_tokenize_and_says_so(made, no_tokenizing):
    first = made.tokens(made.encoder(120))
    assert made.texts == ["train: 12 dialogues, tokenized"]
    no_tokenizing()
    again = made.tokens(made.encoder(120))
    assert list(again.pairs) == list(first.pairs)
    assert again.truncated == first.truncated
    assert made.texts[1:] == ["train: 12 dialogues, tokens read from the cache"]
    assert not made.fallback.exists()


def test_another_tokenizer_object_finds_the_entry_even_after_use(made, checkpoint, no_tokenizing):
    tokenizer = load_tokenizer(checkpoint)
    made.tokens(PromptEncoder(tokenizer, TextFormat(template=TEMPLATE), 512))
    tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)  # stays in the tokenizer's state
    no_tokenizing()
    made.tokens(PromptEncoder(tokenizer, TextFormat(template=TEMPLATE), 512))
    assert len(made.entries) == 1


def test_everything_that_determines_the_tokens_is_in_the_key(made, checkpoint, monkeypatch):
    other = load_tokenizer(checkpoint)
    other.add_tokens(["#Person1#"])
    usual = made.encoder()
    keys = [
        entry_key(made.data, usual, (1,), None),
        entry_key(made.data, made.encoder(511), (1,), None),
        entry_key(made.data, made.encoder(template=TEMPLATE + " "), (1,), None),
        entry_key(made.data, made.encoder(long_dialogues="truncate_start"), (1,), None),
        entry_key(made.data, PromptEncoder(other, TextFormat(template=TEMPLATE), 512), (1,), None),
        entry_key(made.data, usual, (1, 2), None),
        entry_key(made.data, usual, None, None),
        entry_key(made.data, usual, (1,), Shown(["a pool", 1], list)),
        entry_key(made.data, usual, (1,), Shown(["a pool", 2], list)),
    ]
    monkeypatch.setattr(tokens_module, "_FORMAT", tokens_module._FORMAT + 1)
    keys.append(entry_key(made.data, usual, (1,), None))
    monkeypatch.undo()
    version = tokens_module.importlib.metadata.version
    monkeypatch.setattr(tokens_module.importlib.metadata, "version", lambda name: version(name) + ".1")
    keys.append(entry_key(made.data, usual, (1,), None))
    made.data.write_bytes(made.data.read_bytes().replace(b"noon", b"moon", 1))
    keys.append(entry_key(made.data, usual, (1,), None))
    assert len(set(keys)) == len(keys)


def test_exemplars_are_recorded_and_chosen_once(made, no_tokenizing):
    solved = (Dialogue("b", "#Person1#: Hi.", ("They greet.",)), Dialogue("a", "#Person2#: No.", ("No.",)))
    groups = [solved] * 6 + [solved[:1]] * 6
    found = made.tokens(shown=Shown("these", lambda: groups))
    assert [list(one.ids) for one in found.prompts] == [one.ids for one in made.encoder().encode(made.asked, groups)]
    assert found.exemplars == ["a", "b"]
    no_tokenizing()
    assert made.tokens(shown=Shown("these", lambda: pytest.fail("chosen again"))).exemplars == ["a", "b"]


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: content[:2] + b"\xff" + content[3:]])
def test_a_damaged_entry_is_rebuilt(made, damage):
    expected = [list(pair["input_ids"]) for pair in made.tokens().pairs]
    (entry,) = made.entries
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert [list(pair["input_ids"]) for pair in made.tokens().pairs] == expected
    assert entry.read_bytes() == whole
    assert made.texts == ["train: 12 dialogues, tokenized"] * 2


def test_open_tokens_outlive_their_entry(made):
    found = made.tokens()
    before = [list(pair["input_ids"]) for pair in found.pairs]
    made.entries[0].unlink()
    assert [list(pair["input_ids"]) for pair in found.pairs] == before


def test_a_failure_leaves_no_files(made):
    with pytest.raises(DataError, match="tokens without the dialogue itself"):
        made.tokens(made.encoder(12))
    assert [path for path in (made.cache / "tokens").iterdir() if path.suffix != ".lock"] == []


def test_tokens_are_stored_in_the_run_if_the_cache_is_not_writable(made, no_tokenizing):
    made.cache.write_text("no folder")
    expected = list(made.tokens().pairs)
    assert len([path for path in made.fallback.iterdir() if not path.name.startswith(".")]) == 1
    no_tokenizing()
    assert list(made.tokens().pairs) == expected


def test_tokens_in_the_run_are_used_instead_of_the_cache(made):
    made.fallback.mkdir()
    made.tokens()
    assert not made.cache.exists()


def test_the_least_recently_used_entries_are_removed_first(made, monkeypatch):
    made.tokens()
    (oldest,) = made.entries
    made.tokens(ends=(1, 6))
    (other,) = [path for path in made.entries if path != oldest]
    abandoned = made.cache / "tokens" / ".abandoned.tmp"
    abandoned.write_text("half")
    for path, age in ((oldest, 300), (other, 200), (abandoned, 2 * 24 * 3600)):
        os.utime(path, (time.time() - age,) * 2)
    made.tokens()  # used again: now the other one is the oldest
    monkeypatch.setattr(tokens_module, "LARGEST", 2 * oldest.stat().st_size)
    made.tokens(ends=(1, 7))
    assert oldest in made.entries
    assert other not in made.entries
    assert len(made.entries) == 2
    assert not abandoned.exists()


WRITER = """
import sys, time
from pathlib import Path
from summtune.prompts.formats import TextFormat
from summtune.runs.events import Events
from summtune.work.tokens import tokens
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.models.loading import load_tokenizer

data, model, folder, rank = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
encoder = PromptEncoder(load_tokenizer(model), TextFormat(template=sys.argv[5]), 512)
original = tokens.tokenize
def tokenize(*arguments):
    (folder / f"tokenizes.{rank}").touch()
    time.sleep(0.5)
    original(*arguments)
tokens.tokenize = tokenize
(folder / f"ready.{rank}").touch()
while len(list(folder.glob("ready.*"))) < 2:
    time.sleep(0.01)
found = tokens.tokens_of(data, encoder, (1,), folder / "fallback", Events(folder, "train", 1))
print([list(pair["input_ids"]) for pair in found.pairs])
"""


def test_only_one_of_two_simultaneous_processes_tokenizes(made, checkpoint, tmp_path):
    folder = tmp_path / "together"
    folder.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(made.data), str(checkpoint), str(folder), str(rank), TEMPLATE],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = [list(pair["input_ids"]) for pair in made.tokens().pairs]
    assert [json.loads(text.splitlines()[-1]) for text in said] == [expected, expected]
    assert len(list(folder.glob("tokenizes.*"))) == 1


def test_each_process_builds_its_own_entry_without_locks(made, monkeypatch):
    class NoLocks:
        def __init__(self, path): ...

        def __enter__(self):
            raise NotImplementedError

        def __exit__(self, *_): ...

    monkeypatch.setattr(tokens_module, "FileLock", NoLocks)
    assert len(made.tokens().pairs) == 24
    assert len(made.entries) == 1


def test_tokens_are_memory_mapped(made):
    found = made.tokens()
    base = found.prompts[0].ids._file.row(0)
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
