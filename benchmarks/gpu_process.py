"""Runs a part of gpu.py in a process, ends it when its time is over, and records what it has found."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_LOG_FILES, _LOG_CHARACTERS = 8, 3000


@dataclass(frozen=True)
class Part:
    """A part of the proof.

    Args:
        name: of its function in gpu_parts.py or gpu_checks.py.
        expected: seconds that it takes on an H100; it is not begun with less.
        limit: seconds after which it is ended.
    """

    name: str
    expected: int
    limit: int


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a file whole: whoever ends this program leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


class Record:
    """The entry of a part in the result, written to the file at every change.

    Args:
        name: of the part.
        out: the file.
        result: of all parts.
    """

    def __init__(self, name: str, out: Path, result: dict[str, Any]) -> None:
        self.out = out
        self.result = result
        self.entry: dict[str, Any] = {"status": "running"}
        result["parts"][name] = self.entry

    def put(self, **values: Any) -> None:
        self.entry |= values
        write(self.out, self.result)

    def summary(self) -> str:
        more = self.entry.get("reason") or self.entry.get("error") or ""
        return f"{self.entry['status']} in {self.entry.get('seconds', 0):.0f} s {more}".strip()


def run_part(part: Part, limit: float, folder: Path, record: Record, rehearse: bool) -> None:
    """Run a part in a new process, and record what it has found at every moment."""
    own = folder / part.name
    own.mkdir()
    (folder / "results.json").write_text(
        json.dumps({n: p.get("result", {}) for n, p in record.result["parts"].items()})
    )
    found, said = folder / f"{part.name}.json", folder / f"{part.name}.said"
    command = [sys.executable, str(HERE / "gpu.py"), "--one", part.name, "--folder", str(folder)]
    began = time.monotonic()
    with said.open("wb") as output:
        process = subprocess.Popen(
            [*command, *(["--rehearse"] if rehearse else [])],
            env=environment(folder, rehearse), stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        while process.poll() is None and time.monotonic() - began < limit:
            time.sleep(0.5)
            take(found, record)
        late = process.poll() is None
    finally:
        end(process, own)
    take(found, record)
    record.put(seconds=round(time.monotonic() - began, 1))
    if late:
        record.put(status="failed", error=f"it took more than {limit:.0f} s and was ended")
    elif record.entry["status"] == "running":
        record.put(status="failed", error=f"its process ended with {process.returncode}")
    if record.entry["status"] == "failed":
        record.put(output=said.read_text(errors="replace")[-_LOG_CHARACTERS:], logs=logs(own))
    shutil.rmtree(own, ignore_errors=True)


def environment(folder: Path, rehearse: bool) -> dict[str, str]:
    """Return the environment of the parts: one GPU, no network, and caches that are deleted afterwards."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    # Libraries that are only on the path of this checkout must be found by all processes that are started.
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": "" if rehearse else first,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "huggingface"),
        "SUMMTUNE_CACHE": str(folder / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
    }


def take(found: Path, record: Record) -> None:
    """Copy what a part has written so far."""
    if found.exists():
        entry = json.loads(found.read_text())
        if any(record.entry.get(key) != value for key, value in entry.items()):
            record.put(**entry)


def end(process: subprocess.Popen[bytes], own: Path) -> None:
    """Kill a part and everything that it started."""
    import psutil

    started = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    for one in psutil.process_iter(["cmdline"]):
        if any(str(own) in word for word in one.info["cmdline"] or []) and one.pid != os.getpid():
            started.append(one)
    for one in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def logs(own: Path) -> dict[str, str]:
    """Return the ends of the newest logs below a folder."""
    files = sorted(own.rglob("*.log"), key=lambda path: path.stat().st_mtime)[-_LOG_FILES:]
    ends = {str(path.relative_to(own)): path.read_text(errors="replace")[-_LOG_CHARACTERS:] for path in files}
    return {name: text for name, text in ends.items() if text}
