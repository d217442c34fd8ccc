"""Lists what this machine has for summtune to run on, without importing torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from summtune.base.version import __version__
from summtune.machine.compiling import compiler, missing_for_compiling
from summtune.machine.devices import Gpu, visible_gpus

_PACKAGES = ("torch", "transformers", "accelerate", "deepspeed", "peft", "datasets", "evaluate", "rouge_score")
_SLURM = ("sbatch", "squeue", "scancel", "sinfo")
_HUB_SECONDS = 5.0


@dataclass(frozen=True)
class Entry:
    """One entry of the inventory.

    Args:
        name: of the entry, such as ``GPUs``.
        value: what was found.
        problem: what does not work because of it and what to do; None if nothing is wrong.
    """

    name: str
    value: str
    problem: str | None = None


def inventory() -> Iterator[Entry]:
    """Yield what the machine has: versions, devices, memory, compilers, network, Slurm."""
    yield Entry(
        "summtune", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    versions = {name: _version(name) for name in _PACKAGES}
    for name, version in versions.items():
        advice = None if version or not _is_needed(name) else f"pip install {name}"
        yield Entry(name, version or "not installed", advice)
    yield gpu_entry(visible_gpus(), versions["torch"])
    yield _host()
    missing = missing_for_compiling()
    offload = (
        f"cannot be compiled without {', '.join(missing)}" if missing else "can be compiled once, in about a minute"
    )
    yield Entry("CPU offload", offload)
    can = compiler() is not None and platform.system() == "Linux"
    kernels = "can be compiled once, in about a second" if can else "uses transformers' own modules, which are slower"
    yield Entry("T5 on a CPU", kernels)
    yield _accelerate_config()
    yield _hub()
    found = [command for command in _SLURM if shutil.which(command)]
    yield Entry("Slurm", ", ".join(found) if len(found) == len(_SLURM) else "not available")


def gpu_entry(gpus: Sequence[Gpu], torch_version: str | None) -> Entry:
    """Return which GPUs there are, and whether this torch can use them.

    Args:
        gpus: the visible ones.
        torch_version: of the installed package; None if it is not installed.
    """
    if not gpus:
        return Entry("GPUs", "none visible; everything runs on the CPU")
    names = [f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in gpus]
    value = "; ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    if min(gpu.capability for gpu in gpus) < (8, 0):
        value += "; without bfloat16, so training is in fp32"
    if torch_version is not None and torch_version.endswith("+cpu"):
        return Entry("GPUs", value, f"torch {torch_version} is built for CPUs; install a CUDA build")
    return Entry("GPUs", value)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_needed(package: str) -> bool:
    return package != "deepspeed" or platform.system() == "Linux"


def _host() -> Entry:
    import psutil

    memory = psutil.virtual_memory()
    free = shutil.disk_usage(Path.cwd()).free
    return Entry(
        "host",
        f"{os.cpu_count()} cores, {memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB memory available, "
        f"{free / 2**30:.0f} GiB disk free here",
    )


def _accelerate_config() -> Entry:
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    path = Path(home) / "accelerate" / "default_config.yaml"
    value = f"{path} exists and is ignored: every launch has its own config" if path.is_file() else "none"
    return Entry("accelerate's default config", value)


def _hub() -> Entry:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return Entry("hub", "offline (HF_HUB_OFFLINE is set): local models and data only")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_HUB_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Entry("hub", f"{endpoint} cannot be reached ({reason}): local models and data only")
    return Entry("hub", f"{endpoint} answers")
