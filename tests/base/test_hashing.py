"""Hashes depend on content, not on paths, hidden files or the order of keys."""

from summtune.base.hashing import content_sha256, hash_of


def test_a_folder_hash_covers_names_and_contents_but_not_hidden_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("x")
    before = content_sha256(tmp_path / "a")
    (tmp_path / "a" / ".hidden").write_text("y")
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "one.pyc").write_text("y")
    assert content_sha256(tmp_path / "a") == before
    (tmp_path / "a" / "one").rename(tmp_path / "a" / "two")
    assert content_sha256(tmp_path / "a") != before


def test_the_hash_of_a_package_covers_its_init_module(tmp_path):
    (tmp_path / "__init__.py").write_text("x = 1")
    before = content_sha256(tmp_path)
    (tmp_path / "__init__.py").write_text("x = 22")
    assert content_sha256(tmp_path) != before


def test_a_folder_hash_depends_on_where_files_end(tmp_path):
    for folder, parts in (("a", ("xy", "z")), ("b", ("x", "yz"))):
        (tmp_path / folder).mkdir()
        for name, content in zip("12", parts, strict=True):
            (tmp_path / folder / name).write_text(content)
    assert content_sha256(tmp_path / "a") != content_sha256(tmp_path / "b")


def test_the_hash_of_a_json_value_ignores_the_order_of_keys():
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of({"b": [2, 1]}) != hash_of({"b": [1, 2]})
