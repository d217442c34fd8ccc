"""The script that compares the built-in test split with training texts."""

import json
import runpy
from pathlib import Path

import pytest

from summtune.base.errors import DataError
from summtune.data.builtin import dialogues
from summtune.runs.records import Dialogue

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "check_leakage.py"))
check, main, read_texts = SCRIPT["check"], SCRIPT["main"], SCRIPT["read_texts"]


@pytest.fixture
def write_prompts(tmp_path):
    def write(name, *texts):
        path = tmp_path / name
        path.write_text("".join(json.dumps({"dialogue": text}) + "\n" for text in texts), encoding="utf-8")
        return path

    return write


def prompt(text):
    return f"Summarize the following conversation.\n\n{text}\n\nSummary:"


def test_the_built_in_test_split_has_no_copy_in_what_training_sees(capsys):
    assert main(["--stream", "500"]) == 0

    said = capsys.readouterr().out
    assert "200 test dialogues against 1,600 training texts" in said
    assert "exact copy: 0, with a near copy (from 70 %): 0" in said


def test_a_planted_copy_is_listed_with_exit_code_1(write_prompts, capsys):
    planted = list(dialogues("test"))[17]
    clean = write_prompts("clean.jsonl", *(prompt(one.dialogue) for one in dialogues("validation")))
    dirty = write_prompts("dirty.jsonl", prompt("#Person1#: Hello."), prompt(planted.dialogue.lower()))
    assert main(["--texts", str(clean)]) == 0
    capsys.readouterr()

    assert main(["--texts", str(clean), str(dirty)]) == 1

    said = capsys.readouterr().out
    assert "200 test dialogues against 102 training texts" in said
    assert "maximum 100.0 %" in said
    assert "test_17: training text 101, exact" in said
    assert planted.dialogue in said
    assert f"{dirty}:2\n" in said


def test_a_planted_near_copy_gives_exit_code_1(capsys):
    words = [f"w{i}" for i in range(60)]
    changed = [*words[:20], "x", *words[21:40], "x", *words[41:]]

    assert check([Dialogue("a", " ".join(words), ("s",))], lambda: iter([("b", " ".join(changed))])) == 1

    said = capsys.readouterr().out
    assert "exact copy: 0, with a near copy (from 70 %): 1" in said
    assert "a: training text 0, 82.1 %" in said


def test_only_the_first_of_many_copies_are_listed(capsys):
    tests = [Dialogue(f"test_{i}", f"{i} one two three four five", ("s",)) for i in range(25)]

    assert check(tests, lambda: ((one.id, one.dialogue) for one in tests)) == 1

    assert capsys.readouterr().out.endswith("and 5 more\n")


def test_texts_that_share_nothing_have_no_closest_pair(capsys):
    assert check([Dialogue("a", "one two three four five", ("s",))], lambda: iter([("b", "six")])) == 0

    assert "closest pair" not in capsys.readouterr().out


def test_a_check_without_texts_is_refused(tmp_path, capsys):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")

    assert main(["--texts", str(empty)]) == 2

    assert "got 0 training texts" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["{", "[1]", '{"text": "a"}', '{"dialogue": null}'])
def test_a_line_without_a_text_is_refused(tmp_path, line, capsys):
    file = tmp_path / "texts.jsonl"
    file.write_text(f'{{"dialogue": "a"}}\n\n{line}\n', encoding="utf-8")

    with pytest.raises(DataError) as raised:
        list(read_texts([file]))
    assert f"{file}:3" in str(raised.value)
    assert line in str(raised.value)

    assert main(["--texts", str(file)]) == 2


def test_a_negative_number_of_dialogues_is_refused(capsys):
    assert main(["--stream", "-1"]) == 2

    assert "(got --stream -1)" in capsys.readouterr().err


def test_a_missing_file_is_reported(tmp_path, capsys):
    assert main(["--texts", str(tmp_path / "none.jsonl")]) == 2

    assert "none.jsonl" in capsys.readouterr().err
