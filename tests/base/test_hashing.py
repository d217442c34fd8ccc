"""Content decides a hash; places, hidden files and the order of keys do not."""

from summtune.base.hashing import content_sha256, hash_of


def test_a_folder_is_its_names_and_contents_without_hidden_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("x")
    before = content_sha256(tmp_path / "a")
    (tmp_path / "a" / ".hidden").write_text("y")
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "one.pyc").write_text("y")
    assert content_sha256(tmp_path / "a") == before
    (tmp_path / "a" / "one").rename(tmp_path / "a" / "two")
    assert content_sha256(tmp_path / "a") != before


def test_where_one_file_ends_and_the_next_begins_matters(tmp_path):
    for folder, parts in (("a", ("xy", "z")), ("b", ("x", "yz"))):
        (tmp_path / folder).mkdir()
        for name, content in zip("12", parts, strict=True):
            (tmp_path / folder / name).write_text(content)
    assert content_sha256(tmp_path / "a") != content_sha256(tmp_path / "b")


def test_the_order_of_keys_does_not_matter():
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of({"b": [2, 1]}) != hash_of({"b": [1, 2]})
