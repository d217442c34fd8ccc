"""The inventory of the machine is made without torch."""

import urllib.error

import pytest

from summtune.machine import inventory as machine
from summtune.machine.devices import Gpu
from summtune.machine.inventory import gpu_entry, inventory


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """The inventory, by name, of a machine whose network, GPUs, compiler and home are faked."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(machine, "visible_gpus", list)
    monkeypatch.setattr(machine, "missing_for_compiling", list)
    monkeypatch.setattr(machine, "compiler", lambda: ["c++"])
    monkeypatch.setattr(machine.platform, "system", lambda: "Linux")
    return lambda: {entry.name: entry for entry in inventory()}


def test_the_inventory_lists_versions_devices_network_and_slurm(listed):
    found = listed()
    assert list(found) == [
        "summtune", "torch", "transformers", "accelerate", "deepspeed", "peft", "datasets", "evaluate", "rouge_score",
        "GPUs", "host", "CPU offload", "T5 on a CPU", "accelerate's default config", "hub", "Slurm",
    ]  # fmt: skip
    assert ", Python 3." in found["summtune"].value
    assert found["GPUs"].value == "none visible; everything runs on the CPU"
    assert "GiB memory available" in found["host"].value
    assert found["CPU offload"].value == "can be compiled once, in about a minute"
    assert found["hub"].value == "offline (HF_HUB_OFFLINE is set): local models and data only"


def test_a_missing_package_is_a_problem_with_advice(listed, monkeypatch):
    monkeypatch.setattr(machine, "_version", lambda name: None)
    assert (listed()["peft"].value, listed()["peft"].problem) == ("not installed", "pip install peft")
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    assert listed()["deepspeed"].problem is None


def test_gpus_are_counted_and_compared_with_the_build_of_torch():
    a100, t4 = Gpu("A100", 40 << 30, (8, 0)), Gpu("T4", 16 << 30, (7, 5))
    assert gpu_entry([a100, a100], "2.13.0+cu130").value == "2 × A100, 40 GiB"
    mixed = gpu_entry([a100, t4], "2.13.0+cpu")
    assert mixed.value == "1 × A100, 40 GiB; 1 × T4, 16 GiB; without bfloat16, so training is in fp32"
    assert mixed.problem == "torch 2.13.0+cpu is built for CPUs; install a CUDA build"


def test_the_inventory_lists_what_cannot_be_compiled(listed, monkeypatch):
    monkeypatch.setattr(machine, "missing_for_compiling", lambda: ["ninja", "g++"])
    assert listed()["CPU offload"].value == "cannot be compiled without ninja, g++"
    assert listed()["T5 on a CPU"].value == "can be compiled once, in about a second"
    monkeypatch.setattr(machine, "compiler", lambda: None)
    assert listed()["T5 on a CPU"].value == "uses transformers' own modules, which are slower"


def test_accelerates_default_config_is_listed_as_ignored(listed, tmp_path):
    assert listed()["accelerate's default config"].value == "none"
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text("debug: true")
    assert "exists and is ignored" in listed()["accelerate's default config"].value


def test_the_inventory_says_whether_the_hub_answers(listed, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")

    def asked(error):
        def urlopen(request, timeout):
            assert (request.full_url, request.method, timeout) == ("https://hub.example", "HEAD", 5.0)
            raise error

        monkeypatch.setattr(machine.urllib.request, "urlopen", urlopen)
        return listed()["hub"].value

    assert asked(urllib.error.URLError("no route")) == (
        "https://hub.example cannot be reached (no route): local models and data only"
    )
    assert asked(urllib.error.HTTPError("https://hub.example", 405, "no", {}, None)) == "https://hub.example answers"


def test_slurm_is_available_only_with_all_its_commands(listed, monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert listed()["Slurm"].value == "sbatch, squeue, scancel, sinfo"
    monkeypatch.setattr(machine.shutil, "which", lambda name: None if name == "sinfo" else f"/usr/bin/{name}")
    assert listed()["Slurm"].value == "not available"
