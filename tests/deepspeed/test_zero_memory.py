"""What a DeepSpeed config divides among the processes and moves to host memory."""

import pytest

from summtune.base.places import package_path
from summtune.deepspeed.configs import read_ds_config, sized
from summtune.deepspeed.zero_memory import Sharding, offloads


def of(name, trainable=100_000_000):
    return Sharding.of(sized(read_ds_config(package_path(f"ds_configs/{name}.json")), trainable))


@pytest.mark.parametrize(
    ("name", "sharding"),
    [
        ("zero1", Sharding(stage=1, bucket=25_000_000)),
        ("zero2", Sharding(stage=2, bucket=25_000_000, buckets=2)),
        ("zero2_offload", Sharding(stage=2, offload_optimizer=True, bucket=25_000_000, buckets=2)),
        ("zero3", Sharding(stage=3, bucket=25_000_000, buckets=2)),
        (
            "zero3_offload",
            Sharding(stage=3, offload_optimizer=True, offload_weights=True, bucket=25_000_000, buckets=2),
        ),
    ],
)
def test_sharding_of_the_bundled_configs(name, sharding):
    assert of(name) == sharding


def test_sharding_takes_bucket_and_live_parameters_from_the_config():
    zero = {"stage": 3, "reduce_bucket_size": 5e6, "stage3_max_live_parameters": 1e7}
    assert Sharding.of({"zero_optimization": zero}) == Sharding(stage=3, bucket=5_000_000, buckets=2, live=10_000_000)
    zero = {"stage": 2, "reduce_bucket_size": "auto", "stage3_max_live_parameters": "auto"}
    assert Sharding.of({"zero_optimization": zero}).bucket == 0
    assert Sharding.of({}) == Sharding(stage=0)


def test_an_offload_to_device_none_is_off():
    assert not offloads({"offload_param": {"device": "none"}}, "offload_param")
    assert not offloads({"offload_param": None}, "offload_param")
    assert offloads({"offload_param": {"device": "nvme"}}, "offload_param")
