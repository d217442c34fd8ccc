"""A prediction with vLLM has its own launch, over the devices that its model can be divided over."""

import json

import pytest
from made_up_recipes import begun_plan

from summtune.base.errors import InputError
from summtune.machine.devices import Gpu
from summtune.plan.resolve import resolve

A100 = Gpu("A100", 40 << 30, (8, 0))
ENGINE = "generation.engine=vllm"
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "is_encoder_decoder": False,
    "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip


@pytest.fixture(autouse=True)
def gpus(monkeypatch, tmp_path):
    """No GPU; a test appends those it wants. vLLM's executable is there."""
    seen = []
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: list(seen))
    executable = tmp_path / "bin" / "vllm"
    executable.parent.mkdir()
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    monkeypatch.setenv("SUMMTUNE_VLLM", str(executable))
    return seen


@pytest.fixture
def llama(project, write_model):
    write_model(project / "model", **LLAMA)
    return project


def test_training_and_prediction_are_never_one_group(llama, gpus):
    gpus += [A100] * 4
    draft = resolve(llama / "train.yaml", [ENGINE, "num_processes=null"])
    assert [group.names for group in draft.stages] == [("train",), ("predict",), ("evaluate",), ("report",)]
    assert (draft.train.distribution, draft.train.processes, draft.train.devices_per_process) == ("data_parallel", 4, 1)
    predict = draft.predict
    assert (predict.distribution, predict.processes, predict.machines, predict.device) == ("none", 1, 1, "cuda")
    assert predict.devices_per_process == 2, "six heads of queries and two of keys"
    assert predict.config_file != draft.train.config_file
    one = resolve(llama / "train.yaml", [ENGINE])
    assert [group.names for group in one.stages][:2] == [("train",), ("predict",)]
    assert next(group.names for group in resolve(llama / "train.yaml").stages) == ("train", "predict")


def test_deepspeed_trains_and_vllm_generates(llama, gpus):
    gpus += [A100, A100]
    draft = resolve(llama / "train.yaml", [ENGINE, "num_processes=2", "deepspeed=ds_configs/zero3.json"])
    assert (draft.train.distribution, draft.train.config_file) == ("deepspeed", "accelerate.yaml")
    assert (draft.predict.distribution, draft.predict.devices_per_process) == ("none", 2)


def test_a_slurm_job_serves_on_the_gpus_that_it_asks_for(llama, monkeypatch):
    monkeypatch.delenv("SUMMTUNE_VLLM")  # the job looks for it
    sets = [ENGINE, "launcher=slurm", "slurm.gpus_per_node=6"]
    draft = resolve(llama / "prompt.yaml", sets)
    assert (draft.predict.device, draft.predict.devices_per_process) == ("cuda", 6)


def test_a_machine_without_gpus_serves_on_the_cpu(llama):
    predict = resolve(llama / "prompt.yaml", [ENGINE]).predict
    assert (predict.device, predict.processes, predict.devices_per_process) == ("cpu", 1, 1)
    trained = resolve(llama / "train.yaml", [ENGINE, "num_processes=2"])
    assert (trained.train.processes, trained.predict.devices_per_process) == (2, 1)


def test_devices_over_which_a_prompted_model_cannot_be_divided_are_refused(llama, gpus):
    gpus += [A100] * 4
    with pytest.raises(InputError, match=r"got num_processes: 4; the model has 6 heads of queries and 2 of keys\)"):
        resolve(llama / "prompt.yaml", [ENGINE, "num_processes=4"])
    assert resolve(llama / "prompt.yaml", [ENGINE]).predict.devices_per_process == 2


def test_the_plan_names_the_generator_and_its_devices(llama, gpus, write_rows):
    gpus += [A100] * 4
    text = (llama / "prompt.yaml").read_text() + "chat_template: none\n"
    (llama / "prompt.yaml").write_text(text)
    plan = begun_plan(llama / "prompt.yaml", [ENGINE])
    assert (plan.generator, plan.predict.devices_per_process) == ("vllm", 2)
    assert begun_plan(llama / "prompt.yaml").generator == "local"
    hub = plan.to_json()
    assert json.loads(json.dumps(hub))["predict"]["devices_per_process"] == 2


def test_an_encoder_decoder_model_is_refused(project):
    match = (
        r"vLLM serves decoder-only models \(got model_type 't5', an encoder-decoder model\); remove generation.engine"
    )
    with pytest.raises(InputError, match=match):
        resolve(project / "prompt.yaml", [ENGINE])


@pytest.mark.parametrize(
    ("value", "got"),
    [(None, "got no value of SUMMTUNE_VLLM"), ("", "got no value"), ("{}/none", "no such file"),
     ("{}/model/config.json", "a file that cannot be executed")],
)  # fmt: skip
def test_an_executable_that_is_missing_is_refused_with_how_to_install_it(llama, monkeypatch, value, got):
    monkeypatch.delenv("SUMMTUNE_VLLM")
    if value is not None:
        monkeypatch.setenv("SUMMTUNE_VLLM", value.format(llama))
    with pytest.raises(InputError, match="python3 -m venv ~/vllm") as told:
        resolve(llama / "prompt.yaml", [ENGINE])
    assert got in str(told.value)
    assert resolve(llama / "prompt.yaml")


def test_a_home_in_the_path_of_the_executable_is_expanded(llama, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SUMMTUNE_VLLM", "~/bin/vllm")
    assert resolve(llama / "prompt.yaml", [ENGINE])


def test_lora_without_bf16_is_refused_on_gpus(llama, gpus):
    sets = [ENGINE, "adapter=lora", "lora_target_modules=[q]", "bf16=false"]
    assert resolve(llama / "train.yaml", sets), "on a CPU vLLM computes LoRA in fp32"
    gpus.append(A100)
    with pytest.raises(InputError, match=r"vLLM computes LoRA in bf16 on GPUs \(got bf16: false"):
        resolve(llama / "train.yaml", sets)


def test_the_engine_is_part_of_the_generation_but_not_of_the_training(llama):
    served, local = resolve(llama / "train.yaml", [ENGINE]), resolve(llama / "train.yaml")
    assert served.keys.train == local.keys.train
    assert served.keys.predict != local.keys.predict
    explicit = resolve(llama / "train.yaml", ["generation.engine=transformers"])
    assert explicit.identity == local.identity, "as that of runs that are older than the key"
