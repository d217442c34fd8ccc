"""What DeepSpeed's CPU optimizer is compiled with is looked for before a run starts."""

import importlib.util
import shutil
import sysconfig
from types import SimpleNamespace

import pytest

from summtune.base.errors import RecipeError
from summtune.machine import compiling
from summtune.machine.compiling import missing_for_compiling, ninja_path
from summtune.plan.checking import check


@pytest.fixture
def nothing_here(monkeypatch):
    """A machine without a compiler, ninja and headers."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/nowhere")
    monkeypatch.setattr(compiling, "_built_along", lambda: False)


@pytest.mark.usefixtures("nothing_here")
def test_everything_missing_is_named(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    assert missing_for_compiling() == [
        "a C++ compiler (c++: the package g++)",
        "ninja (pip install ninja)",
        "Python's headers (Python.h: the package python3-dev)",
    ]
    monkeypatch.setenv("CXX", "")
    assert missing_for_compiling()[0] == "a C++ compiler (c++: the package g++)"
    monkeypatch.setenv("CXX", "clang++")
    assert missing_for_compiling()[0] == "a C++ compiler (clang++: the package g++)"


def test_the_compiler_may_have_words_after_it(tmp_path, monkeypatch):
    (tmp_path / "ccache").write_text("#!/bin/sh\n")
    (tmp_path / "ccache").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "ccache g++")
    assert compiling.compiler() == [str(tmp_path / "ccache"), "g++"]
    for not_there in ("g++", 'ccache "g++', " "):
        monkeypatch.setenv("CXX", not_there)
        assert compiling.compiler() is None


@pytest.mark.usefixtures("nothing_here")
def test_an_optimizer_that_was_built_along_needs_nothing(monkeypatch):
    monkeypatch.setattr(compiling, "_built_along", lambda: True)
    assert missing_for_compiling() == []


def test_built_along_is_known_by_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert not compiling._built_along()
    (tmp_path / "ops" / "adam").mkdir(parents=True)
    (tmp_path / "ops" / "adam" / "cpu_adam_op.cpython-311.so").touch()
    assert compiling._built_along()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not compiling._built_along()


def test_ninja_beside_python_is_found_without_an_activated_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert ninja_path() is None
    (tmp_path / "ninja").write_text("#!/bin/sh\n")
    (tmp_path / "ninja").chmod(0o755)
    assert ninja_path() == str(tmp_path / "ninja")


def test_offload_without_a_compiler_is_told_before_anything_starts(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.missing_for_compiling", lambda: ["ninja (pip install ninja)"])
    with pytest.raises(RecipeError, match=r"compiles DeepSpeed's Adam .* \(got .*zero2_offload.json, without ninja"):
        check(project / "train.yaml", ["deepspeed=ds_configs/zero2_offload.json"])
    check(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"])


def test_an_optimizer_that_contradicts_the_config_is_told_at_its_place(project):
    with pytest.raises(RecipeError, match=r"Adafactor finds no rows and columns \(got optimizer: adafactor"):
        check(project / "train.yaml", ["deepspeed=ds_configs/zero2.json", "optimizer=adafactor"])
