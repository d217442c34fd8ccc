"""Finds what this machine lacks for compiling C++: DeepSpeed's CPU optimizer at its first use, summtune's kernels."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_for_compiling() -> list[str]:
    """Return what is missing for ``DeepSpeedCPUAdam``: a C++ compiler, ninja, Python's headers.

    Nothing is if it was built when DeepSpeed was installed (``DS_BUILD_CPU_ADAM=1``).
    """
    if _is_prebuilt():
        return []
    missing = [] if compiler() else [f"a C++ compiler ({_wanted()}; install the package g++)"]
    if ninja_path() is None:
        missing.append("ninja (pip install ninja)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append("Python's headers (Python.h; install the package python3-dev)")
    return missing


def compiler() -> list[str] | None:
    """Return the command of the C++ compiler that worker processes find; None if there is none.

    ``CXX`` may hold several words, such as ``ccache g++``.
    """
    try:
        words = shlex.split(_wanted())
    except ValueError:  # an unclosed quote
        return None
    path = shutil.which(words[0])
    return [path, *words[1:]] if path else None


def _wanted() -> str:
    return os.environ.get("CXX", "").strip() or "c++"  # as torch.utils.cpp_extension does


def ninja_path() -> str | None:
    """Return the ninja that worker processes find: on the PATH, or next to this Python; None if there is none."""
    return shutil.which("ninja") or shutil.which("ninja", path=str(Path(sys.executable).parent))


def _is_prebuilt() -> bool:
    found = importlib.util.find_spec("deepspeed")
    if found is None or found.origin is None:
        return False
    return any((Path(found.origin).parent / "ops" / "adam").glob("cpu_adam_op*.so"))
