"""A manifest finds every file that is missing, cut or altered."""

import pytest

from summtune.runs.manifest import damage, listed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"x" * 2000)
    (tmp_path / "log").write_text("")
    return tmp_path


def manifest_of(folder):
    return listed(folder, (path for path in folder.rglob("*") if path.is_file()))


def test_intact_files_fit_and_further_ones_do_not_count(folder):
    manifest = manifest_of(folder)
    assert set(manifest) == {"model/weights", "log"}
    (folder / "later").write_text("x")
    assert damage(folder, manifest) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "model/weights is missing"),
        (b"x" * 1999, "model/weights has 1,999 bytes instead of 2,000"),
        (b"x" * 1999 + b"y", "model/weights was altered"),
    ],
)
def test_damage_is_named(folder, content, reason):
    manifest = manifest_of(folder)
    path = folder / "model" / "weights"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert damage(folder, manifest) == reason
    assert damage(folder, manifest, contents=False) == (None if reason.endswith("altered") else reason)


def test_a_folder_or_a_loop_of_links_in_place_of_a_file_is_missing(folder):
    manifest = manifest_of(folder)
    (folder / "log").unlink()
    (folder / "log").mkdir()
    assert damage(folder, manifest) == "log is missing"
    (folder / "log").rmdir()
    (folder / "log").symlink_to("log")
    assert damage(folder, manifest) == "log is missing"
