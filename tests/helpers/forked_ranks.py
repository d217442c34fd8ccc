"""Ranks of a process group over gloo: real processes, forked from one that has imported what they need."""

import multiprocessing
import os
import socket
import traceback
from datetime import timedelta


def free_port():
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def environment(rank, world, port):
    """Return the environment variables that a launcher sets for a rank."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_PORT": port}
    return {key: str(value) for key, value in ranks.items()} | {"MASTER_ADDR": "127.0.0.1"}


def _run(rank, world, port, function, grouped, answers):
    import torch.distributed

    os.environ.update(environment(rank, world, port))
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    try:
        if grouped:
            torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
        answers.put((rank, function(rank)))
    except BaseException:
        traceback.print_exc()
        answers.put((rank, traceback.format_exc()))
    answers.close()
    answers.join_thread()
    os._exit(0)


def forking():
    """Return the multiprocessing context whose processes begin with torch imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    return context


def on_ranks(world, function, grouped=True, present=None, answering=None, seconds=60):
    """Call ``function(rank)`` on each of ``world`` ranks at once (or on those ``present``) and return the answers.

    ``answering`` names those that survive to answer, if not all do.
    """
    context = forking()
    answers = context.Queue()
    port = free_port()
    ranks = range(world) if present is None else present
    started = [context.Process(target=_run, args=(rank, world, port, function, grouped, answers)) for rank in ranks]
    for process in started:
        process.start()
    try:
        got = dict(answers.get(timeout=seconds) for _ in answering or ranks)
    finally:
        for process in started:
            process.join(5)
            process.kill()
    return [got[rank] for rank in answering or ranks]
