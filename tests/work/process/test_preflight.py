import os
import time
from functools import partial

import pytest
import torch
from forked_ranks import on_ranks

from summtune.base.errors import StageError
from summtune.work.process import preflight
from summtune.work.process.preflight import meet


@pytest.fixture
def folders(tmp_path):
    """Write the run directory as each of three machines sees it."""
    for rank in range(3):
        (tmp_path / str(rank) / "data").mkdir(parents=True)
        (tmp_path / str(rank) / "data" / "train.jsonl").write_text('{"dialogue": "a"}\n')
    return tmp_path


def met(folders, rank, limit=20.0, change=None):
    """Return the message of a rank and the seconds until it came."""
    if change is not None:
        change(rank)
    started = time.monotonic()
    try:
        company = meet(folders / str(rank), "fp32", limit)
        told = (str(company), company.reduce_once(torch.device("cpu")) < limit) if limit > 10 else str(company)
    except StageError as error:
        told = str(error)
    return told, time.monotonic() - started


def test_a_single_process_has_no_company(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert meet(tmp_path, "fp32") is None


def test_consistent_ranks_meet_and_reduce(folders):
    for told, _ in on_ranks(3, partial(met, folders)):
        assert told == (f"3 processes (3 on {os.uname().nodename}) have the same packages and data", True)


def test_a_missing_rank_is_named_within_the_limit(folders):
    (told, seconds), (other, _) = on_ranks(3, partial(met, folders, limit=3.0), grouped=False, present=[0, 2])
    here = os.uname().nodename
    assert f"(got 2 of 3; rank 0 on {here} misses rank 1 of machine 0); see logs/train.rank1.log" in told
    assert f"rank 2 on {here} misses rank 1 of machine 0" in other
    assert seconds < 8


def test_a_missing_rank_0_is_named_with_its_address(folders):
    ((told, seconds),) = on_ranks(2, partial(met, folders, limit=2.0), grouped=False, present=[1])
    assert "rank 1 on " in told
    assert "cannot reach rank 0 (got 127.0.0.1:" in told
    assert "check that this machine can open connections to that one" in told
    assert seconds < 15


def test_a_rank_that_reads_other_data_is_named(folders):
    (folders / "1" / "data" / "train.jsonl").write_text('{"dialogue": "b"}\n')
    for told, _ in on_ranks(3, partial(met, folders), grouped=False):
        assert told.startswith(f"rank 1 on {os.uname().nodename}: other training data than the others (got SHA-256 ")
        assert told.endswith("the run directory must be on a file system that all machines share")


def older_transformers_on_rank_1(rank):
    if rank == 1:
        real = preflight._version
        preflight._version = lambda package: "5.0.0" if package == "transformers" else real(package)


def test_a_rank_with_another_package_is_named(folders):
    for told, _ in on_ranks(2, partial(met, folders, change=older_transformers_on_rank_1), grouped=False):
        assert told.startswith(
            f"rank 1 on {os.uname().nodename}: another version of transformers than the others (got 5.0.0, not "
        )
        assert told.endswith("install the same one everywhere")


def on_one_gpu(rank):
    preflight._device = lambda: "cuda GPU-1234" if rank else "cuda GPU-5678"


def test_processes_that_share_a_gpu_are_named(folders):
    here = os.uname().nodename
    for told, _ in on_ranks(3, partial(met, folders, change=on_one_gpu), grouped=False):
        assert told.startswith(f"rank 1 on {here}, rank 2 on {here}: several processes use one GPU (got cuda GPU-1234)")


def bf16_on_rank_0(rank):
    real = preflight.report_of_this_rank
    preflight.report_of_this_rank = lambda *given: real(*given) | ({"precision": "bf16"} if rank == 0 else {})


def test_a_rank_that_computes_in_another_precision_is_named(folders):
    told, _ = on_ranks(3, partial(met, folders, change=bf16_on_rank_0), grouped=False)[0]
    assert told.startswith(
        f"rank 0 on {os.uname().nodename}: another precision than the others (got bf16, not fp32); set `bf16: true` or"
    )


def alone_after_a_while(folders, rank):
    company = meet(folders / str(rank), "fp32", 20.0)
    company.limit = 1.0
    if rank == 0:
        os._exit(0)  # and takes the store along
    time.sleep(1)
    try:
        company.reduce_once(torch.device("cpu"))
    except StageError as error:
        return str(error)
    return None


def test_a_sum_without_rank_0_is_an_error_with_a_reason(folders):
    (told,) = on_ranks(2, partial(alone_after_a_while, folders), answering=[1])
    assert told.startswith("an all-reduce over gloo did not succeed (got ")
    assert f"rank 1 on {os.uname().nodename}, and rank 0 has ended" in told


def a_gpu_on_rank_0(rank):
    preflight._device = lambda: "cpu" if rank else "cuda GPU-5678"


def test_a_rank_without_the_others_device_is_named(folders):
    told, _ = on_ranks(3, partial(met, folders, change=a_gpu_on_rank_0), grouped=False)[0]
    assert told.startswith(
        f"rank 0 on {os.uname().nodename}: another kind of device than the others (got cuda, not cpu)"
    )


def another_world_on_rank_0(rank):
    real = preflight.report_of_this_rank
    preflight.report_of_this_rank = lambda *given: real(*given) | {"world_size": 3 - (rank == 0)}


def test_a_rank_with_another_world_size_is_named(folders):
    told, _ = on_ranks(3, partial(met, folders, change=another_world_on_rank_0), grouped=False)[0]
    assert "rank 0 on " in told
    assert "another number of processes than the others (got 2, not 3)" in told


def stuck(folders, rank):
    company = meet(folders / str(rank), "fp32", 20.0)
    company.limit = 2.0
    if rank == 1:
        time.sleep(4)  # hangs where the others sum
        return None
    started = time.monotonic()
    try:
        company.reduce_once(torch.device("cpu"))
    except StageError as error:
        return str(error), time.monotonic() - started
    return None


def test_a_sum_that_hangs_ends_within_the_limit(folders):
    (told, seconds), _ = on_ranks(2, partial(stuck, folders))
    assert told.startswith("an all-reduce over gloo did not succeed (got none in 2 s) on rank 0 on ")
    assert "rank 1 on " in told
    assert seconds < 4


def leaving(folders, rank):
    real = preflight.report_of_this_rank
    preflight.report_of_this_rank = lambda *given: time.sleep(2 * rank) or real(*given)
    if rank == 0:
        preflight._wait = lambda store, keys, end: time.sleep(1) or os._exit(0)
    return met(folders, rank)[0]


def test_a_lost_rank_0_is_reported(folders):
    (told,) = on_ranks(2, partial(leaving, folders), grouped=False, answering=[1])
    assert told.startswith(f"rank 1 on {os.uname().nodename} lost rank 0 at 127.0.0.1:")
    assert told.endswith("see the log of rank 0")
