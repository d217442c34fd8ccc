"""Files are written whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from summtune.base import files
from summtune.base.errors import InputError, RunDirectoryError


def test_written_json_is_read_back_unchanged(tmp_path):
    files.write_json(tmp_path / "new" / "a.json", {"summary": "Tom läuft – 3 km"})
    assert files.read_json(tmp_path / "new" / "a.json") == {"summary": "Tom läuft – 3 km"}
    assert "läuft" in (tmp_path / "new" / "a.json").read_text(encoding="utf-8")
    rows = [{"id": "1", "text": "a\nb\u2028c"}, {"id": "2", "text": ""}]
    files.write_jsonl(tmp_path / "a.jsonl", rows)
    assert list(files.read_jsonl(tmp_path / "a.jsonl")) == rows
    assert (tmp_path / "a.jsonl").read_bytes().count(b"\n") == 2


def test_a_full_disk_leaves_the_old_content_and_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    files.write_text(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a", "new")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_fail_half_way_write_nothing(tmp_path):
    def rows():
        yield {"id": "1"}
        raise RuntimeError("the second row")

    with pytest.raises(RuntimeError, match="the second row"):
        files.write_jsonl(tmp_path / "a.jsonl", rows())
    assert list(tmp_path.iterdir()) == []


def test_nan_is_refused_when_writing_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_files_get_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "")
        now = os.umask(0o027)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert now == 0o027


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"", b"9" * 5000])
def test_a_damaged_json_file_is_reported(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "a.jsonl").write_bytes(b"{}\n" + content + b"\n")
    with pytest.raises(RunDirectoryError, match=r"a\.json: not the JSON that summtune wrote there"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(RunDirectoryError, match=r"a\.jsonl, line 2: not the JSON that summtune wrote there"):
        list(files.read_jsonl(tmp_path / "a.jsonl"))


def test_a_loop_of_links_is_not_followed(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert files.followed(tmp_path / "loop") == tmp_path / "loop"


def test_a_tilde_is_expanded_only_at_the_start():
    assert files.expanded("./~/x") == Path("./~/x")
    assert files.expanded("a~/x") == Path("a~/x")
    with pytest.raises(InputError, match=r"no such user.*\(got ~nobody_of_that_name/x\); correct it"):
        files.expanded("~nobody_of_that_name/x")
    assert files.expanded("~/x") == Path.home() / "x"
