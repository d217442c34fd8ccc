"""The config that accelerate is given."""

import pytest
import yaml

from summtune.launchers.accelerate_config import accelerate_config, to_yaml
from summtune.plan.launch import Launch


def config(tmp_path, **fields):
    fields = {"distribution": "none", "processes": 1, "device": "cpu", "config_file": "accelerate.yaml"} | fields
    return accelerate_config(Launch(**fields), tmp_path)


@pytest.mark.parametrize(
    ("fields", "kind", "use_cpu"),
    [
        ({}, "NO", True),
        ({"device": "cuda"}, "NO", False),
        ({"distribution": "data_parallel", "processes": 2}, "MULTI_GPU", False),
        ({"distribution": "data_parallel", "processes": 2, "device": "cuda"}, "MULTI_GPU", False),
        ({"distribution": "deepspeed", "processes": 2, "zero_stage": 2}, "DEEPSPEED", False),
    ],
)
def test_use_cpu_is_set_only_for_a_single_process_on_a_cpu(tmp_path, fields, kind, use_cpu):
    written = config(tmp_path, **fields)
    assert (written["distributed_type"], written["use_cpu"]) == (kind, use_cpu)
    assert written["num_processes"] == fields.get("processes", 1)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_gets_its_config_and_no_precision(tmp_path, stage):
    written = config(tmp_path, distribution="deepspeed", processes=2, zero_stage=stage)
    assert written["deepspeed_config"] == {
        "deepspeed_config_file": str(tmp_path / "ds_config.json"),
        "zero3_init_flag": stage == 3,
    }
    assert "mixed_precision" not in written


def test_accelerate_on_several_machines_starts_without_pdsh(tmp_path):
    written = config(tmp_path, distribution="data_parallel", processes=4, machines=2)
    assert (written["num_machines"], written["num_processes"]) == (2, 4)
    assert written["main_process_port"] is None, "the command of each machine has it"
    assert config(tmp_path)["main_process_port"] == 0
    written = config(tmp_path, distribution="deepspeed", processes=4, machines=2)
    assert written["deepspeed_config"]["deepspeed_multinode_launcher"] == "standard"


def test_the_config_round_trips_through_yaml(tmp_path):
    written = config(tmp_path)
    assert yaml.safe_load(to_yaml(written)) == written
