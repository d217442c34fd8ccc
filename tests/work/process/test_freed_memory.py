import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from summtune.launchers import local
from summtune.plan.launch import Launch
from summtune.work.process import freed_memory

# Every second block stays, so that no C library returns the others by itself.
PROGRAM = """
import psutil
from summtune.work.process.freed_memory import return_freed_memory

def resident():
    return psutil.Process().memory_info().rss // 2**20

blocks = [b"x" * 2**20 for _ in range(400)]
del blocks[::2]
before = resident()
return_freed_memory()
print(before, resident(), {len(set(block)) for block in blocks})
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_holes_in_the_heap_of_a_worker_are_returned_and_the_rest_stays():
    launch = Launch(distribution="none", processes=1, device="cpu", config_file="accelerate.yaml")
    environment = local.environment(launch) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True)
    before, after, kinds = said.split(maxsplit=2)
    assert kinds.strip() == "{1}"
    assert int(before) > 390
    assert int(before) - int(after) > 190


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    freed_memory._malloc_trim.cache_clear()
    freed_memory.return_freed_memory()
    assert freed_memory._malloc_trim() is None
    freed_memory._malloc_trim.cache_clear()
