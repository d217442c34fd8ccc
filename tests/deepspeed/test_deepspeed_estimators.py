"""The memory formulas of ZeRO return the same numbers as DeepSpeed's own estimators."""

import pytest

from summtune.deepspeed.zero_memory import zero2_needs, zero3_needs
from summtune.machine.model_shapes import KNOWN_MODELS

pytest.importorskip("deepspeed")

NODES = [(1, 1), (2, 1), (8, 1), (8, 4)]
PARAMETERS = [shape.parameters for shape in KNOWN_MODELS.values()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("gpus", "nodes"), NODES)
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_zero_2_is_deepspeeds_estimate(parameters, gpus, nodes):
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    for offload in (False, True):
        theirs = estimate_zero2_model_states_mem_needs(parameters, gpus, nodes, cpu_offload=offload)
        assert zero2_needs(parameters, gpus, nodes, offload) == theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("gpus", "nodes"), NODES)
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_zero_3_is_deepspeeds_estimate(parameters, gpus, nodes):
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs

    largest = 32128 * 768
    for offload, weights in ((False, False), (True, False), (True, True)):
        host, gpu, _ = estimate_zero3_model_states_mem_needs(
            parameters, largest, gpus, nodes, cpu_offload=offload, cpu_offload_params=weights, zero_init=True
        )
        assert zero3_needs(parameters, largest, gpus, nodes, offload, weights) == (host, gpu)
