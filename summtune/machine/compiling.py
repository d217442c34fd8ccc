"""Says what could be compiled on this machine: DeepSpeed's CPU optimizer at its first use, summtune's own passes."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_for_compiling() -> list[str]:
    """Return what is missing for ``DeepSpeedCPUAdam``: a C++ compiler, ninja, Python's headers; none where it was
    built along with DeepSpeed (``DS_BUILD_CPU_ADAM=1``)."""
    if _built_along():
        return []
    missing = [] if compiler() else [f"a C++ compiler ({_wanted()}: the package g++)"]
    if ninja_path() is None:
        missing.append("ninja (pip install ninja)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        missing.append("Python's headers (Python.h: the package python3-dev)")
    return missing


def compiler() -> list[str] | None:
    """Return the command of the C++ compiler that worker processes find, such as ``CXX="ccache g++"``; None without
    one."""
    try:
        words = shlex.split(_wanted())
    except ValueError:  # a quotation without an end
        return None
    path = shutil.which(words[0])
    return [path, *words[1:]] if path else None


def _wanted() -> str:
    return os.environ.get("CXX", "").strip() or "c++"  # as torch.utils.cpp_extension does


def ninja_path() -> str | None:
    """Return the ninja that worker processes find: on the PATH, or beside this Python; None without one."""
    return shutil.which("ninja") or shutil.which("ninja", path=str(Path(sys.executable).parent))


def _built_along() -> bool:
    found = importlib.util.find_spec("deepspeed")
    if found is None or found.origin is None:
        return False
    return any((Path(found.origin).parent / "ops" / "adam").glob("cpu_adam_op*.so"))
