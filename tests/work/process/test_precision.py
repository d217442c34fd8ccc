import pytest
import torch

from summtune.base.errors import StageError
from summtune.work.process.precision import check_device, use_bf16


@pytest.fixture(params=[True, False])
def cpu_has_bf16(request, monkeypatch):
    monkeypatch.setattr("summtune.work.process.precision._has_bf16", lambda device: request.param)
    return request.param


def test_bf16_auto_follows_the_device(cpu_has_bf16):
    assert use_bf16("auto", "cpu") is cpu_has_bf16


def test_false_is_fp32_everywhere(cpu_has_bf16):
    assert use_bf16(False, "cpu") is False


def test_bf16_on_a_device_without_it_is_an_error(monkeypatch):
    monkeypatch.setattr("summtune.work.process.precision._has_bf16", lambda device: False)
    with pytest.raises(StageError, match=r"this cpu device cannot compute in bfloat16 \(got bf16: true\)"):
        use_bf16(True, "cpu")


def test_bf16_is_used_on_a_device_with_it(monkeypatch):
    monkeypatch.setattr("summtune.work.process.precision._has_bf16", lambda device: True)
    assert use_bf16(True, "cpu") is True


def test_bf16_support_of_the_real_cpu_is_found():
    assert use_bf16("auto", "cpu") is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def test_a_gpu_that_torch_cannot_use_is_an_error(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check_device("cpu")
    with pytest.raises(StageError, match=r"the plan is for a GPU, but torch cannot use it \(got torch \d"):
        check_device("cuda")
