"""The library is compiled once for a processor, and why_not says why it cannot be."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from summtune.machine.compiling import compiler
from summtune.work.cpu import library

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")


@needs_compiler
def test_there_is_a_library_if_there_is_a_compiler():
    assert library.why_not() is None


@needs_compiler
def test_the_library_uses_torchs_threads():
    threads = torch.get_num_threads()
    try:
        for number in (3, 1):
            torch.set_num_threads(number)
            assert library.loaded().omp_get_max_threads() == number
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    """Begin without a library, with an empty cache; return its folder."""
    library.loaded.cache_clear()
    monkeypatch.setenv("SUMMTUNE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "compiled"
    library.loaded.cache_clear()


@needs_compiler
def test_the_library_is_compiled_once(fresh_cache, monkeypatch):
    assert library.why_not() is None
    (kept,) = fresh_cache.iterdir()
    library.loaded.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert library.why_not() is None
    assert [kept] == list(fresh_cache.iterdir())


@needs_compiler
def test_another_processor_has_another_library(monkeypatch):
    here = library._key(["c++"])
    assert library._key(["c++"]) == here
    assert library._key(["c++", "-O1"]) != here
    read_text = Path.read_text

    def of_another(path, *arguments, **named):
        return "flags : other\n" if path == Path("/proc/cpuinfo") else read_text(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", of_another)
    assert library._key(["c++"]) != here


@needs_compiler
def test_a_damaged_library_is_compiled_again(fresh_cache):
    assert library.why_not() is None
    (kept,) = fresh_cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(b"half")
    library.loaded.cache_clear()
    assert library.why_not() is None
    assert len(kept.read_bytes()) == len(content)


@needs_compiler
def test_code_that_others_may_have_written_is_not_run(fresh_cache, tmp_path, monkeypatch):
    assert library.why_not() is None
    (kept,) = fresh_cache.iterdir()
    assert library._read_own(kept) == kept.read_bytes()
    kept.chmod(0o660)
    with pytest.raises(PermissionError, match="others may have written it"):
        library._read_own(kept)
    kept.chmod(0o600)
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(OSError, match="symbolic links"):
        library._read_own(tmp_path / "link")
    monkeypatch.setattr(library.os, "getuid", lambda: 4321)
    with pytest.raises(PermissionError, match="others may have written it"):
        library._read_own(kept)


@needs_compiler
def test_without_a_cache_the_library_is_compiled_for_this_process(fresh_cache):
    fresh_cache.parent.write_text("not a folder")
    assert library.why_not() is None
    assert isinstance(library.loaded(), ctypes.CDLL)


@pytest.mark.parametrize(
    ("script", "seconds", "reason"),
    [
        ("echo 'fatal error: cstdint: No such file' >&2; exit 1", 60.0, "fatal error: cstdint: No such file"),
        ("exit 3", 60.0, "the compiler ended with code 3"),
        ("echo working >&2; exec sleep 60", 0.5, "timed out after"),
        (None, 60.0, "no C++ compiler ("),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is compiled")
def test_why_not_names_the_reason_that_nothing_is_compiled(fresh_cache, monkeypatch, tmp_path, script, seconds, reason):
    path = tmp_path / "compiler"
    if script is not None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setattr(library, "_SECONDS", seconds)
    assert reason in library.why_not()
    assert library.loaded() == library.why_not()


def test_other_systems_have_no_library(fresh_cache, monkeypatch):
    monkeypatch.setattr(library.sys, "platform", "darwin")
    assert library.why_not() == "only for Linux, not for darwin"


@needs_compiler
def test_a_library_with_a_separate_openmp_is_not_used(fresh_cache, monkeypatch):
    monkeypatch.setattr(library, "_has_threads_of_torch", lambda _: False)
    assert library.why_not() == "another OpenMP library than torch's; use g++"


@pytest.mark.parametrize(
    ("loaded", "taken"),
    [
        (["{torch}/lib/libgomp.so.1", "/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgomp.so.1.0.0"], 0),
        (["/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "{torch}.libs/libgomp-a34.so.1"], 1),
        (["/x/a b/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgomp.so.1.0.0"], 1),
        (["/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgompx.so"], None),
    ],
)
def test_the_linked_openmp_library_is_torchs(loaded, taken, monkeypatch):
    places = [path.replace("{torch}", str(Path(torch.__file__).resolve().parent)) for path in loaded]
    maps = "".join(f"7f00-7f01 r-xp 00000000 fe:00 26723    {path}\n" for path in places) + "7f-80 rw-p 00 00:00 0 \n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: maps)
    assert library._openmp() == ([] if taken is None else [places[taken]])
