import os

from summtune.base.cache import cache_folder


def test_the_cache_folder_follows_the_environment_variables(monkeypatch, tmp_path):
    assert str(cache_folder("tokens")) == os.environ["SUMMTUNE_CACHE"] + "/tokens"
    monkeypatch.delenv("SUMMTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("tokens") == tmp_path / "summtune" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("compiled") == tmp_path / ".cache" / "summtune" / "compiled"
