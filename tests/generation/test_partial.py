import json
import os

import pytest
from made_up_outputs import output

from summtune.base.errors import InputError, RunDirectoryError
from summtune.generation.partial import appending, discard, mend, read_outputs
from summtune.runs.answers import Answer, Usage

HALF = '{"key": "b", "te'


def write(folder, rank, keys):
    with appending(folder, rank) as append:
        for key in keys:
            append(key, output(f"text of {key}"))
    return folder / f"rank{rank}.jsonl"


def test_the_outputs_of_all_ranks_are_read(tmp_path):
    write(tmp_path, 0, ["a", "b"])
    write(tmp_path, 1, ["c"])
    assert read_outputs(tmp_path) == {key: output(f"text of {key}") for key in "abc"}


def test_an_output_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    with appending(tmp_path, 0) as append:
        append("a", output())
        assert read_outputs(tmp_path) == {"a": output()}


def test_texts_come_back_exactly(tmp_path):
    text = 'two\nlines, "quotes", \u2028, a tab\t, 客服 and \U0001f600'
    with appending(tmp_path, 0) as append:
        append("a", output(text))
    assert read_outputs(tmp_path)["a"].text == text


def test_the_answer_of_a_server_comes_back_and_older_lines_have_none(tmp_path):
    answer = Answer(model="m", usage=Usage(prompt_tokens=9, new_tokens=4), seconds=0.5)
    path = write(tmp_path, 0, ["a"])
    older = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in older.items() if name != "answer"}) + "\n")
    with appending(tmp_path, 0) as append:
        append("b", output().model_copy(update={"answer": answer, "prompt_tokens": None}))
    found = read_outputs(tmp_path)
    assert found["a"].answer is None
    assert (found["b"].answer, found["b"].prompt_tokens) == (answer, None)


def test_a_line_that_a_kill_left_incomplete_is_cut_off(tmp_path):
    path = write(tmp_path, 0, ["a"])
    whole = path.read_text()
    path.write_text(whole + HALF)
    other = write(tmp_path, 1, ["c"])
    untouched = other.stat().st_mtime_ns
    mend(tmp_path)
    assert path.read_text() == whole
    assert other.stat().st_mtime_ns == untouched
    write(tmp_path, 0, ["b"])
    assert list(read_outputs(tmp_path)) == ["a", "b", "c"]


def test_a_file_that_holds_nothing_but_an_incomplete_line_is_empty_afterwards(tmp_path):
    path = tmp_path / "rank0.jsonl"
    path.write_text(HALF)
    mend(tmp_path)
    assert path.read_bytes() == b""
    assert read_outputs(tmp_path) == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("\0\0\0\n", "Invalid JSON"),
        ("[]\n", "Input should be an object"),
        ('{"key": "b", "text": "t", "prompt_tokens": 1, "new_tokens": 1}\n', "Field required"),
        ('{"key": "b", "text": "t", "prompt_tokens": 1, "new_tokens": 1.5, "hit_length_cap": true}\n', "valid integer"),
        ('{"key": "b", "text": "t", "prompt_tokens": 1, "new_tokens": 1, "hit_length_cap": true, "x": 1}\n', "Extra"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number_and_what_to_do(tmp_path, line, found):
    path = write(tmp_path, 3, ["a"])
    path.write_text(path.read_text() + line)
    with pytest.raises(RunDirectoryError, match=rf"rank3\.jsonl, line 2: .*{found}.*; restore the file, or delete it"):
        read_outputs(tmp_path)


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "rank0.jsonl")
    for read in (mend, read_outputs):
        with pytest.raises(InputError, match=r"rank0\.jsonl, a pipe"):
            read(tmp_path)


def test_discarded_files_are_gone_with_their_folder(tmp_path):
    folder = tmp_path / "partial"
    folder.mkdir()
    write(folder, 0, ["a"])
    discard(folder)
    assert not folder.exists()
