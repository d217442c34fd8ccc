"""Which GPUs a process would see."""

from types import SimpleNamespace

import pynvml
import pytest

from summtune.machine.devices import Gpu, visible_gpus


@pytest.fixture
def three_gpus(monkeypatch):
    closed = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: closed.append(True))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: f"GPU {handle}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(total=80 << 30))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: (9, 0))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{'abc'[handle]}111")
    return closed


def names():
    return [gpu.name for gpu in visible_gpus()]


def test_every_device_is_seen_with_its_memory_and_capability(three_gpus):
    assert visible_gpus() == [Gpu(f"GPU {index}", 80 << 30, (9, 0)) for index in range(3)]
    assert three_gpus == [True]


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ("", []),
        ("1", ["GPU 1"]),
        ("2, 0", ["GPU 2", "GPU 0"]),
        ("GPU-b", ["GPU 1"]),
        ("0,-1,2", ["GPU 0"]),
        ("0,7,2", ["GPU 0"]),
        ("0,GPU-z", ["GPU 0"]),
        ("-1", []),
        ("0,²,1", ["GPU 0"]),
        ("0," + "9" * 5000, ["GPU 0"]),
    ],
)
@pytest.mark.usefixtures("three_gpus")
def test_cuda_visible_devices_selects_what_cuda_would_select(monkeypatch, chosen, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert names() == seen


def test_no_gpus_are_visible_without_a_driver(monkeypatch):
    def missing():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert visible_gpus() == []
