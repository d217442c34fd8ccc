"""Checks before a training on several processes that all ranks are present, consistent and connected."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from summtune.base.errors import StageError
from summtune.base.hashing import content_sha256
from summtune.runs.run_directory import DATA_FILES

LIMIT_SECONDS = 60.0
PATIENCE = timedelta(hours=4)  # while another rank reads or writes a checkpoint of a hundred gigabytes
_PACKAGES = (
    "summtune",
    "torch",
    "transformers",
    "accelerate",
    "deepspeed",
    "peft",
    "tokenizers",
    "safetensors",
    "numpy",
)
_POLL_SECONDS = 0.05
_FAREWELL_SECONDS = 10.0


class Company:
    """All ranks of a training once they are connected: `meet` returns it.

    Its ``group`` connects them over gloo, from CPU to CPU, once `reduce_once` has succeeded.

    Args:
        reports: what each rank reports about itself, by rank.
        rank: of this process.
        store: through which the ranks exchange values.
        limit: seconds after which silent ranks are reported.
    """

    def __init__(self, reports: Sequence[dict[str, Any]], rank: int, store: Any, limit: float) -> None:
        self.reports = reports
        self.rank = rank
        self.limit = limit
        self.group: Any = None
        self._store = store

    def reduce_once(self, device: torch.device) -> float:
        """Sum a number over all ranks as gradients will be summed, and over gloo; return the seconds that this took.

        Args:
            device: of this rank; decides between nccl and gloo.

        Raises:
            StageError: the sum took longer than the limit, or is wrong; the error names the ranks that are stuck.
        """
        started = time.monotonic()
        world = len(self.reports)
        sums: list[float] = []
        failures: list[Exception] = []

        def reduce() -> None:
            try:
                if device.type == "cuda":
                    torch.cuda.set_device(device)
                number = torch.ones(1, device=device)
                torch.distributed.all_reduce(number)
                sums.append(float(number))  # waits for the GPU
                # gloo opens separate connections, possibly over another network than nccl.
                self.group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
                number = torch.ones(1)
                torch.distributed.all_reduce(number, group=self.group)
                sums.append(float(number))
            except Exception as error:
                failures.append(error)

        # In a thread, because the start of nccl has no time limit and can block forever.
        thread = threading.Thread(target=reduce, daemon=True)
        thread.start()
        thread.join(self.limit)
        if sums == [world, world]:
            with contextlib.suppress(RuntimeError, OSError):  # rank 0, and with it the store, has already given up
                self._store.set(f"reduced/{self.rank}", b"1")
            return time.monotonic() - started
        backend = "gloo" if sums == [world] else torch.distributed.get_backend()
        got = _first_line(failures[0]) if failures else sums[-1] if sums else f"none in {self.limit:.0f} s"
        raise StageError(
            f"an all-reduce over {backend} did not succeed (got {got}) on {self._stuck()}; check the network between "
            "these machines (NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME name the interface, NCCL_DEBUG=INFO says more)"
        )

    def _stuck(self) -> str:
        time.sleep(0.5)  # for ranks that are about to finish
        try:
            stuck = [rank for rank in range(len(self.reports)) if not self._store.check([f"reduced/{rank}"])]
        except (RuntimeError, OSError):
            return f"rank {self.rank} on {self.reports[self.rank]['host']}, and rank 0 has ended"
        return _named(stuck, self.reports)

    def __str__(self) -> str:
        machines = Counter(str(report["host"]) for report in self.reports)
        where = ", ".join(f"{count} on {host}" for host, count in machines.items())
        return f"{len(self.reports)} processes ({where}) have the same packages and data"


def meet(run_dir: Path, precision: str, limit: float = LIMIT_SECONDS) -> Company | None:
    """Wait until all ranks are connected and compare their reports; return None for a single process.

    Rank, world size and the address of rank 0 come from the environment, as every launcher sets them.

    Args:
        run_dir: holds the data as this rank sees it.
        precision: in which this rank computes, bf16 or fp32.
        limit: seconds after which missing ranks are reported.

    Raises:
        StageError: a rank cannot be reached, or differs from the others; the error names it.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return None
    rank = int(os.environ["RANK"])
    end = time.monotonic() + limit
    store = _store(rank, world, limit)
    try:
        store.set(f"reports/{rank}", json.dumps(report_of_this_rank(run_dir, precision, world)))
        missing = _wait(store, [f"reports/{other}" for other in range(world)], end)
        # Rank 0 may host the store: it must not end while another rank still reads.
        there = [other for other in range(world) if f"reports/{other}" not in missing]
        reports = [json.loads(store.get(f"reports/{other}")) for other in there]
        store.set(f"read/{rank}", b"1")
        if rank == 0:
            _wait(store, [f"read/{other}" for other in there], time.monotonic() + _FAREWELL_SECONDS)
    except (RuntimeError, OSError) as error:
        raise StageError(
            f"rank {rank} on {socket.gethostname()} lost rank 0 at {_address()} (got {_first_line(error)}); see the "
            "log of rank 0"
        ) from None
    if missing:
        raise StageError(_absence(missing, world, rank, limit))
    _compare(reports)
    return Company(reports, rank, store, limit)


def report_of_this_rank(run_dir: Path, precision: str, world: int) -> dict[str, Any]:
    """Return what must be the same on every rank, with this rank's host and device."""
    digest = hashlib.sha256()
    for role in ("train", "validation"):
        path = run_dir / DATA_FILES[role]
        if path.exists():
            digest.update(content_sha256(path).encode())
    return {
        "host": socket.gethostname(),
        "device": _device(),
        "world_size": world,
        "precision": precision,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "data": digest.hexdigest(),
    }


def _device() -> str:
    if not torch.cuda.is_available():
        return "cpu"
    properties = torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", "0")))
    return f"cuda {getattr(properties, 'uuid', '')}".strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _store(rank: int, world: int, limit: float) -> Any:
    hosts = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            world,
            hosts,
            timedelta(seconds=limit / 2),  # a client tries twice
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (RuntimeError, OSError) as error:
        raise StageError(
            f"rank {rank} on {socket.gethostname()} cannot reach rank 0 (got {_address()}: {_first_line(error)}); "
            "check that this machine can open connections to that one"
        ) from None
    return PrefixStore("summtune/preflight", store)


def _address() -> str:
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def _absence(missing: Sequence[str], world: int, rank: int, limit: float) -> str:
    per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    named = ", ".join(f"rank {other} of machine {other // per_machine}" for other in map(_rank, missing))
    return (
        f"not every process connected within {limit:.0f} s (got {world - len(missing)} of {world}; rank {rank} on "
        f"{socket.gethostname()} misses {named}); see logs/train.rank{_rank(missing[0])}.log, and check that the "
        "machine is up"
    )


def _rank(key: str) -> int:
    return int(key.rsplit("/", 1)[1])


def _wait(store: Any, keys: Sequence[str], end: float) -> list[str]:
    """Return the keys that are not set by ``end``."""
    while True:
        missing = [key for key in keys if not store.check([key])]
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(_POLL_SECONDS)


def _compare(reports: Sequence[dict[str, Any]]) -> None:
    """Raise an error that names the ranks that differ from the majority, or from rank 0 without a majority."""
    for name, what in _differences(reports):
        values = [_value(one, name) for one in reports]
        usual = Counter(values).most_common(1)[0][0]  # of equally frequent ones the first
        odd = [rank for rank, value in enumerate(values) if value != usual]
        if odd:
            raise StageError(f"{_named(odd, reports)}: {what.format(got=values[odd[0]], usual=usual)}")
    places = Counter((one["host"], one["device"]) for one in reports if one["device"] != "cpu")
    for (host, device), count in places.items():
        if count > 1:
            ranks = [rank for rank, one in enumerate(reports) if (one["host"], one["device"]) == (host, device)]
            raise StageError(
                f"{_named(ranks, reports)}: several processes use one GPU (got {device}); see CUDA_VISIBLE_DEVICES"
            )


def _differences(reports: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    packages = [
        (
            f"versions/{name}",
            f"another version of {name} than the others (got {{got}}, not {{usual}}); install the same one everywhere",
        )
        for name in reports[0]["versions"]
    ]
    return [
        (
            "world_size",
            "another number of processes than the others (got {got}, not {usual}); start all machines in the same way",
        ),
        ("kind", "another kind of device than the others (got {got}, not {usual}); use machines of the same kind"),
        (
            "precision",
            "another precision than the others (got {got}, not {usual}); set `bf16: true` or false, or use machines "
            "of the same kind",
        ),
        *packages,
        (
            "data",
            "other training data than the others (got SHA-256 {got:.12}…, not {usual:.12}…); the run directory must be "
            "on a file system that all machines share",
        ),
    ]


def _value(report: dict[str, Any], name: str) -> Any:
    if name == "kind":
        return str(report["device"]).split()[0]
    section, _, key = name.partition("/")
    return report[section][key] if key else report[section]


def _named(ranks: Sequence[int], reports: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"rank {rank} on {reports[rank]['host']}" for rank in ranks)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
