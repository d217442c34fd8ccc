"""Gathers the packages that summtune and its GPU tests need on a machine without network, as wheels in one folder.

    .venv/bin/python scripts/gpu_wheels.py wheels [--there FILE] [--python 3.12] [--extra qlora] [--also trl]

Nothing of CUDA is brought along: torch is that of the other machine. ``--there`` names a file with the output of
``python3 -m pip list`` on the other machine, whose packages are left out. Without it, torch, transformers, peft and
accelerate are expected there, with all that they need. Versions are those of this environment, so run it in the one
that `make` set up. ``benchmarks/gpu.py --wheels FOLDER`` uses the folder.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FROM_THERE = ("torch", "transformers", "peft", "accelerate")
NEVER = re.compile(r"nvidia-(?!ml-py).*|torch|triton|cuda-.*")
TESTING = ("pytest", "pytest-timeout", "pytest-xdist")
# pip takes a platform by its exact name: every glibc from that of RHEL 7 on.
PLATFORMS = ["linux_x86_64", "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
PLATFORMS += [f"manylinux_2_{minor}_x86_64" for minor in range(5, 40)]


def environment(python: str) -> dict[str, str]:
    """Return what markers of requirements ask about the other machine."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "sys_platform": "linux",
    }


def needed_by(name: str, extras: Iterable[str], python: str) -> Iterator[Requirement]:
    """Yield what an installed package requires on the other machine, with the given extras."""
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate(environment(python) | {"extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


def closure(roots: Iterable[Requirement], python: str, there: dict[str, str | None]) -> dict[str, str]:
    """Return the packages that the roots need and the other machine lacks, {name: version here}.

    Raises:
        SystemExit: a version there does not meet a requirement, or a package is not installed here.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(root, "the command line") for root in roots]
    while waiting:
        requirement, by = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in there or NEVER.fullmatch(name):
            version = there.get(name)
            if version is not None and not requirement.specifier.contains(Version(version), prereleases=True):
                raise SystemExit(f"{by} needs {requirement} (got {name} {version} there); bring it: --only {name}")
            continue
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise SystemExit(f"{by} needs a package that is not installed here (got {name}); pip install it") from None
        waiting += [(each, name) for each in needed_by(name, requirement.extras, python)]
    return found


def listed(path: Path) -> dict[str, str | None]:
    """Return the packages of a ``pip list``, {name: version}; a line may be a name alone."""
    packages: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.replace("==", " ").split()
        if words and not words[0].startswith("-") and words[0] != "Package":
            packages[canonicalize_name(words[0])] = words[1] if len(words) > 1 else None
    return packages


def expected(python: str) -> dict[str, str | None]:
    """Return what a machine with torch, transformers, peft and accelerate has at least, without versions."""
    names = closure([Requirement(name) for name in FROM_THERE if name != "torch"], python, {})
    return dict.fromkeys([*names, "torch", *closure(needed_by("torch", (), python), python, {})])


def fetch(name: str, version: str, folder: Path, python: str) -> None:
    """Write the wheel of a package into the folder, built here if there is none and it is pure Python.

    Raises:
        SystemExit: there is no wheel for the other machine.
    """
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wanted = ["--no-deps", f"{name}=={version}"]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in PLATFORMS:
        target += ["--platform", platform]
    done = subprocess.run([*pip, "download", *wanted, *target, "-d", str(folder)], capture_output=True, text=True)
    if done.returncode == 0:
        return
    before = set(folder.iterdir())
    # DeepSpeed would compile operators for this machine; it compiles what it needs at first use.
    build = [*pip, "wheel", *wanted, "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run(build, env=os.environ | {"DS_BUILD_OPS": "0"}, capture_output=True, text=True)
    made = set(folder.iterdir()) - before
    if done.returncode or not all(path.name.endswith("-none-any.whl") for path in made):
        got = ", ".join(path.name for path in made) or done.stderr[-2000:]
        raise SystemExit(f"{name} {version} has no wheel for Python {python} on Linux x86-64 (got {got})")


def main() -> None:
    """Gather the wheels, and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--there", type=Path, help="output of `python3 -m pip list` on the other machine")
    parser.add_argument("--python", default="3.12", help="its version of Python")
    parser.add_argument("--extra", action="append", default=[], choices=["qlora", "tracking"])
    parser.add_argument("--also", action="append", default=[], help="another package, such as the peer trl")
    parser.add_argument("--only", nargs="+", help="these packages, without what they need")
    given = parser.parse_args()
    there = listed(given.there) if given.there else expected(given.python)
    if given.only:
        packages = {str(canonicalize_name(name)): importlib.metadata.version(name) for name in given.only}
    else:
        roots = [Requirement(name) for name in (*TESTING, *given.also)] + list(
            needed_by("summtune", given.extra, given.python)
        )
        packages = closure(roots, given.python, there)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, version in sorted(packages.items()):
        have = [path for path in given.folder.glob("*.whl") if canonicalize_name(path.name.split("-")[0]) == name]
        if not any(path.name.split("-")[1] == version for path in have):
            for path in have:
                path.unlink()  # pip refuses two versions of one package
            fetch(name, version, given.folder, given.python)
    wheels = sorted(given.folder.glob("*.whl"), key=lambda path: -path.stat().st_size)
    for path in wheels:
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path.name}")
    print(f"{sum(path.stat().st_size for path in wheels) / 2**20:8.1f} MiB  {len(wheels)} wheels in {given.folder}")


if __name__ == "__main__":
    main()
