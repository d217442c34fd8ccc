"""Proves on one GPU that summtune works there, and measures it: tests, speed, memory, resuming, ZeRO, quantization.

    python3 benchmarks/gpu.py [--wheels FOLDER] [--out FILE]             the most important parts, in eight minutes
    python3 benchmarks/gpu.py --part 2 [--wheels FOLDER] [--out FILE]    what did not fit

Nothing comes from the network: the model has FLAN-T5-base's shape and random weights, and the dialogues are builtin
ones, joined to DialogSum's lengths, unless SUMMTUNE_TEST_DATA has the real ones. ``--wheels`` names the folder of
scripts/gpu_wheels.py, which is installed into a temporary folder first.

The result is one JSON file, written after each measurement, so a run that is ended early keeps what it has. A part
that fails is recorded with its traceback and its logs, and the others still run. A part for which too little of
``--minutes`` is left is skipped, with the reason. The exit code is 1 if a part failed, or if there is no GPU.

``--rehearse`` runs every part on the CPU, with tiny models: a test does it, so that the code is known to work.

Quote ratios. The model FLOP utilization is what the model needs for the real tokens, without padding and recomputation
(Chowdhery et al., PaLM, 2022, appendix B), over the rate that the device reaches in a bf16 product of 8192 × 8192.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from gpu_process import HERE, Part, Record, run_part, write

# For the process that has the wheels on its path: when the command began, and the folder with the wheels' content.
BEGAN, SITE = "SUMMTUNE_GPU_BEGAN", "SUMMTUNE_GPU_SITE"
_TEARDOWN_SECONDS = 10


# In order of importance.
PARTS = {
    1: [
        Part("machine", 10, 60),
        Part("inputs", 15, 60),
        Part("tests", 90, 200),
        Part("training", 80, 180),
        Part("kill_and_resume", 50, 150),
        Part("prediction", 50, 150),
        Part("lora", 20, 60),
        Part("memory", 30, 90),
        Part("decoder", 60, 180),
    ],
    2: [
        Part("machine", 10, 60),
        Part("inputs", 15, 60),
        Part("zero", 70, 180),
        Part("qlora", 20, 90),
        Part("smoke", 40, 150),
        Part("quickstart", 40, 150),
        Part("more_memory", 60, 150),
        Part("losses", 40, 120),
        Part("offload", 60, 240),
        Part("training_fp32", 40, 120),
        Part("compiled", 60, 180),
        Part("vllm", 150, 400),
        Part("slow_tests", 60, 300),
    ],
}


def main() -> int:
    given = arguments()
    if given.one:
        return run_one(given)
    began = float(os.environ.get(BEGAN, time.time()))
    if given.wheels:
        become_with_wheels(given.wheels, began)
    import torch

    if not given.rehearse and not torch.cuda.is_available():
        print(
            f"no GPU can be used (got torch {torch.__version__}); nothing was measured. --rehearse runs it on the CPU",
            file=sys.stderr,
        )
        return 1
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    device = "cpu" if given.rehearse else torch.cuda.get_device_name(0)
    name = "-".join(re.findall(r"[a-z0-9.]+", device.lower())) + ("" if given.part == 1 else f"-part{given.part}")
    out = given.out or HERE / "results" / f"{today}-{name}.json"
    result = {"date": today, "device": device, "part": given.part, "rehearsal": given.rehearse, "parts": {}}
    chosen = [part for part in PARTS[given.part] if not given.only or part.name in (*given.only, "machine", "inputs")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the part that runs is ended, too
    with tempfile.TemporaryDirectory(prefix="gpu", ignore_cleanup_errors=True) as temporary:
        for part in chosen:
            left = began + 60 * given.minutes - _TEARDOWN_SECONDS - time.time()
            record = Record(part.name, out, result)
            if left < part.expected:
                record.put(status="skipped", reason=f"it takes about {part.expected} s (got {left:.0f} s left)")
            else:
                limit = min(part.limit * (10 if given.rehearse else 1), left)  # a CPU is slow, and has other work
                run_part(part, limit, Path(temporary), record, given.rehearse)
            print(f"{part.name}: {record.summary()}", flush=True)
    failed = [name for name, part in result["parts"].items() if part["status"] == "failed"]
    if SITE in os.environ:
        shutil.rmtree(os.environ[SITE], ignore_errors=True)
    seconds = time.time() - began
    result |= {"seconds": round(seconds, 1), "failed": failed}
    write(out, result)
    print(f"{out}: {len(result['parts'])} parts in {seconds:.0f} s, failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = list(dict.fromkeys(part.name for parts in PARTS.values() for part in parts))
    parser.add_argument("--part", type=int, choices=PARTS, default=1)
    parser.add_argument("--only", nargs="+", choices=every, help="these alone, of the given part")
    parser.add_argument("--minutes", type=float, default=7.75, help="for all parts together")
    parser.add_argument("--wheels", type=Path, help="folder of scripts/gpu_wheels.py")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/<date>-<device>.json")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny models")
    parser.add_argument("--one", choices=every, help=argparse.SUPPRESS)  # the process of a part
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def become_with_wheels(wheels: Path, began: float) -> None:
    """Install the wheels into a temporary folder, and start this program again with it on the path.

    The environment of the machine stays as it is. What is in the folder comes before what is installed.
    """
    site = Path(tempfile.mkdtemp(prefix="gpu-wheels"))
    files = sorted(wheels.glob("*.whl"))
    if not files:
        sys.exit(f"there are no wheels (got {wheels}); scripts/gpu_wheels.py gathers them")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    pip += ["--no-cache-dir", "--disable-pip-version-check", "--upgrade", "--target", str(site)]
    subprocess.run([*pip, *map(str, files)], check=True)
    words = list(sys.argv)
    at = next(number for number, word in enumerate(words) if word.startswith("--wheels"))
    del words[at : at + (1 if "=" in words[at] else 2)]
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    os.execve(
        sys.executable, [sys.executable, *words], os.environ | {"PYTHONPATH": path, BEGAN: str(began), SITE: str(site)}
    )


def run_one(given: argparse.Namespace) -> int:
    """Run a part in this process, and write its results to a file of the folder."""
    entry: dict[str, Any] = {"status": "running", "result": {}}
    found = given.folder / f"{given.one}.json"

    def note(key: str, value: Any) -> None:
        entry["result"][key] = value
        write(found, entry)
        print(key, value, flush=True)

    try:
        import gpu_checks
        import gpu_parts
        from gpu_scene import MissingError, Scene
        from speed_inputs import Setting

        setting = Setting("base", batch=64, trained=64 * 32, predicted=512, predicted_at_once=256, cuda=True)
        if given.rehearse:
            setting = Setting("tiny", batch=4, trained=8, predicted=8, predicted_at_once=4, cuda=False, bf16=False)
        results = json.loads((given.folder / "results.json").read_text())
        scene = Scene(given.folder, given.folder / given.one, setting, note, results)
        try:
            module = gpu_parts if hasattr(gpu_parts, given.one) else gpu_checks
            getattr(module, given.one)(scene)
            entry["status"] = "done"
        except MissingError as skipped:
            entry |= {"status": "skipped", "reason": str(skipped)}
    except BaseException as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        entry |= {"status": "failed", "error": f"{type(error).__name__}: {first}", "traceback": traceback.format_exc()}
    write(found, entry)
    return 1 if entry["status"] == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
