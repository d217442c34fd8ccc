import numpy as np
import pytest

from summtune.work.tokens.token_file import DamagedTokensError, TokenFile, TokenRow, TokenWriter

ROWS = [[5, 6, 1], [], [65535], [7, 1]]


def written(path, vocabulary=1 << 16, rows=ROWS):
    with path.open("wb") as file:
        writer = TokenWriter(file, vocabulary)
        assert list(writer.add(rows[:2])) == [0, 1]
        assert list(writer.add(rows[2:])) == list(range(2, len(rows)))
        writer.close({"prompts": [3, 0]}, {"truncated": 2})
    return path


@pytest.mark.parametrize(("vocabulary", "type_"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<i4")])
def test_rows_tables_and_notes_are_read_memory_mapped(tmp_path, vocabulary, type_):
    file = TokenFile(written(tmp_path / "t", vocabulary))
    assert [file.row(number).tolist() for number in range(4)] == ROWS
    assert file.row(0).dtype == np.dtype(type_)
    assert file.table("prompts").tolist() == [3, 0]
    assert file.notes == {"truncated": 2}
    base = file.row(0)
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not file.row(0).flags.writeable


def test_a_file_without_rows_is_read(tmp_path):
    with (tmp_path / "t").open("wb") as file:
        TokenWriter(file, 100).close({"prompts": []}, {})
    assert len(TokenFile(tmp_path / "t").table("prompts")) == 0


def test_a_row_is_a_sequence_that_compares_like_its_ids(tmp_path):
    file = TokenFile(written(tmp_path / "t"))
    first, last = TokenRow(file, 0), TokenRow(file, 3)
    assert (len(first), list(first), first[0], first[1:]) == (3, [5, 6, 1], 5, [6, 1])
    assert all(type(token) is int for token in first)
    assert first == [5, 6, 1]
    assert first == TokenRow(file, 0)
    assert first != last
    assert first != 5
    assert first < last
    assert first < [5, 7]
    assert hash(first) == hash(TokenRow(file, 0))


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = written(tmp_path / "t")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedTokensError, match=r"the file of tokens is truncated \(got \d+ bytes in .*delete it"):
        TokenFile(path)


def test_a_changed_byte_is_detected(tmp_path):
    path = written(tmp_path / "t")
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedTokensError, match=r"the checksum of the tokens is wrong \(got .*delete the file"):
        TokenFile(path)


def test_an_index_that_is_not_json_is_refused(tmp_path):
    path = written(tmp_path / "t")
    path.write_bytes(path.read_bytes().replace(b'{"type"', b'?"type"'))
    with pytest.raises(DamagedTokensError, match=r"the index of the tokens cannot be read \(got .*\); delete the file"):
        TokenFile(path)
