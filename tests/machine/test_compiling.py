"""The compiler, ninja and headers that DeepSpeed's CPU optimizer needs are looked for before a run starts."""

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
    monkeypatch.setattr(compiling, "_is_prebuilt", lambda: False)


@pytest.mark.usefixtures("nothing_here")
def test_every_missing_compiler_tool_is_listed(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    assert missing_for_compiling() == [
        "a C++ compiler (c++; install the package g++)",
        "ninja (pip install ninja)",
        "Python's headers (Python.h; install the package python3-dev)",
    ]
    monkeypatch.setenv("CXX", "")
    assert missing_for_compiling()[0] == "a C++ compiler (c++; install the package g++)"
    monkeypatch.setenv("CXX", "clang++")
    assert missing_for_compiling()[0] == "a C++ compiler (clang++; install the package g++)"


def test_cxx_may_hold_several_words(tmp_path, monkeypatch):
    (tmp_path / "ccache").write_text("#!/bin/sh\n")
    (tmp_path / "ccache").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "ccache g++")
    assert compiling.compiler() == [str(tmp_path / "ccache"), "g++"]
    for not_there in ("g++", 'ccache "g++', " "):
        monkeypatch.setenv("CXX", not_there)
        assert compiling.compiler() is None


@pytest.mark.usefixtures("nothing_here")
def test_a_prebuilt_optimizer_needs_no_compiler(monkeypatch):
    monkeypatch.setattr(compiling, "_is_prebuilt", lambda: True)
    assert missing_for_compiling() == []


def test_a_prebuilt_optimizer_is_recognized_by_its_library_file(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert not compiling._is_prebuilt()
    (tmp_path / "ops" / "adam").mkdir(parents=True)
    (tmp_path / "ops" / "adam" / "cpu_adam_op.cpython-311.so").touch()
    assert compiling._is_prebuilt()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not compiling._is_prebuilt()


def test_ninja_next_to_python_is_found_without_an_activated_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert ninja_path() is None
    (tmp_path / "ninja").write_text("#!/bin/sh\n")
    (tmp_path / "ninja").chmod(0o755)
    assert ninja_path() == str(tmp_path / "ninja")


def test_offload_without_ninja_is_refused_before_anything_starts(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.missing_for_compiling", lambda: ["ninja (pip install ninja)"])
    with pytest.raises(RecipeError, match=r"compiles DeepSpeed's Adam .* \(got .*zero2_offload.json, without ninja"):
        check(project / "train.yaml", ["deepspeed=ds_configs/zero2_offload.json"])
    check(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"])


def test_an_optimizer_that_contradicts_the_deepspeed_config_is_refused(project):
    with pytest.raises(RecipeError, match=r"\(got optimizer: adafactor .*\); use adamw_torch_fused"):
        check(project / "train.yaml", ["deepspeed=ds_configs/zero2.json", "optimizer=adafactor"])
