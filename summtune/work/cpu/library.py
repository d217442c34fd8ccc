"""Compiles compiled_passes.cpp for this processor, and loads it.

A process that finds no library in summtune's cache compiles one, in about a second, and stores it there. It runs on
torch's threads: it is linked with torch's own OpenMP library.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from summtune.base.cache import cache_folder
from summtune.base.files import write_bytes
from summtune.base.hashing import hash_of
from summtune.machine.compiling import compiler

_SOURCE = Path(__file__).with_name("compiled_passes.cpp")
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math"),  # otherwise conditions are not vectorized
    # On processors with 512-bit vectors gcc would use 256 bits. No effect on others.
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),
)
_SECONDS = 120.0  # after which a compiler counts as hanging


def why_not() -> str | None:
    """Return why nothing can be compiled on this machine; None if it can."""
    found = loaded()
    return found if isinstance(found, str) else None


@functools.lru_cache(1)
def loaded() -> ctypes.CDLL | str:
    """Return the library, or why there is none."""
    if sys.platform != "linux":
        return f"only for Linux, not for {sys.platform}"
    command = compiler()
    if command is None:
        return f"no C++ compiler ({os.environ.get('CXX') or 'c++'}); install g++"
    try:
        library = _load([*command, *_FLAGS])
    except subprocess.CalledProcessError as error:
        return (str(error.stderr).strip().splitlines() or [f"the compiler ended with code {error.returncode}"])[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return library if _has_threads_of_torch(library) else "another OpenMP library than torch's; use g++"


def _load(command: list[str]) -> ctypes.CDLL:
    """Load the library from the cache, or compile it."""
    name = f"passes-{_key(command)}.so"
    kept: Path | None = None
    with _folder() as folder:
        here = Path(folder) / name
        with contextlib.suppress(OSError, RuntimeError):  # missing, damaged, or no home folder
            kept = cache_folder("compiled") / name
            here.write_bytes(_read_own(kept))
            return ctypes.CDLL(str(here))
        words = [*command, str(_SOURCE), "-Wl,--as-needed", *_openmp(), "-o", str(here)]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=_SECONDS)
        library = ctypes.CDLL(str(here))
        with contextlib.suppress(OSError):  # not writable, or full
            if kept is not None:
                write_bytes(kept, here.read_bytes())
                kept.chmod(0o600)
        return library


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for this process: in the cache, because some machines do not run code in /tmp."""
    with contextlib.suppress(OSError, RuntimeError):
        cache = cache_folder("compiled")
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=cache, prefix=".")
    return tempfile.TemporaryDirectory()


def _read_own(path: Path) -> bytes:
    """Return the content of a file that only this user can have written: it is code that will run.

    Raises:
        OSError: the file is missing, or others may have written it.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_uid != os.getuid() or stat.st_mode & 0o022:
            raise PermissionError(f"others may have written it (got {path})")
        return file.read()


def _key(command: list[str]) -> str:
    """Return a hash of all that determines the code, and of the user: machines may share a home, users a cache."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", info, re.MULTILINE)
    source = _SOURCE.read_text(encoding="utf-8")
    machine = [platform.machine(), sorted(set(processor)), os.getuid()]
    return hash_of([source, command, machine, torch.__version__, _openmp()])[:32]


def _openmp() -> list[str]:
    """Return the OpenMP library that torch has loaded, its own or the system's, for linking.

    Another one, such as that of sentencepiece, would start separate threads that compete with torch's.
    """
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    paths = (Path(words[5]) for words in (line.split(maxsplit=5) for line in maps.splitlines()) if len(words) == 6)
    loaded = sorted({path for path in paths if re.match(r"lib[gi]?omp[^a-z]", path.name)})
    torch_folder = Path(torch.__file__).resolve().parent
    own = [path for path in loaded if path.parent in (torch_folder / "lib", torch_folder.with_name("torch.libs"))]
    return [str(path) for path in own or [path for path in loaded if path.parent.suffix != ".libs"]][:1]


def _has_threads_of_torch(library: ctypes.CDLL) -> bool:
    """Return whether the library calls the OpenMP library that torch has loaded."""

    def place(of: ctypes.CDLL) -> int | None:
        return ctypes.cast(of.omp_get_max_threads, ctypes.c_void_p).value

    return all(place(ctypes.CDLL(path)) == place(library) for path in _openmp())
