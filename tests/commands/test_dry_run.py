"""--dry-run prints the plan and starts nothing."""

import io
import shlex
import sys

import pytest
import yaml

from summtune.base.console import SafeConsole
from summtune.base.places import package_path
from summtune.base.safe_python import START
from summtune.commands.dry_run import print_comparison, print_plan
from summtune.commands.run import show_plan
from summtune.launchers.sbatch_script import sbatch_script
from summtune.machine.devices import Gpu
from summtune.plan.resolve import resolve


@pytest.fixture
def plan_of(project, monkeypatch, tmp_path):
    def of(*sets, name="train.yaml", gpus=()):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: list(gpus))
        path = project / name if isinstance(name, str) else name
        console = SafeConsole(file=io.StringIO(), width=60)
        draft = resolve(path, sets)
        (print_comparison if draft.recipe.kind == "compare" else print_plan)(draft, console)
        return draft, console.file.getvalue()

    return of


def test_stages_model_batch_and_memory_are_shown(plan_of, everything_in, tmp_path):
    before = everything_in(tmp_path)
    draft, text = plan_of("val_set_size=2", "micro_batch_size=2", "gradient_accumulation_steps=2", "num_processes=2")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "train  kind: train"
    assert f"run directory  {draft.run_dir}" in lines
    assert "stages  data → train → predict → evaluate → report" in lines
    assert "parameters  trains 247,577,856 (100 %)" in lines
    assert (
        "batch  global batch 8 = 2 micro × 2 accumulation × 2 processes; 10 pairs, 2 steps per epoch, 6 optimizer steps"
    ) in lines
    assert any(line.startswith("memory  about ") and "weights 944.4 MiB" in line for line in lines)
    assert "train and predict  2 × cpu, data parallel" in lines
    assert everything_in(tmp_path) == before


def test_the_exact_command_and_its_config_are_shown(plan_of):
    draft, text = plan_of()
    command = next(line for line in text.splitlines() if "summtune.work.process.launch" in line)
    assert shlex.split(command) == [
        sys.executable, START, "summtune.work.process.launch", "--config_file", f"{draft.run_dir}/accelerate.yaml",
        START, "summtune.worker", str(draft.run_dir), "train", "predict",
    ]  # fmt: skip
    after = text.split("    accelerate.yaml:\n")[1].splitlines()
    config = yaml.safe_load("\n".join(line for line in after if line.startswith("      ")))
    assert (config["distributed_type"], config["num_processes"], config["use_cpu"]) == ("NO", 1, True)


def test_deepspeed_shows_both_configs(plan_of):
    draft, text = plan_of("deepspeed=ds_configs/zero2.json", "num_processes=2")
    assert "    accelerate.yaml:\n" in text
    assert "    accelerate.predict.yaml:\n" in text
    assert "distributed_type: DEEPSPEED" in text
    assert f"deepspeed_config_file: {draft.run_dir}/ds_config.json" in text
    assert f'ds_config.json  {package_path("ds_configs/zero2.json")} ("auto" is filled in from the recipe)' in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed=1", "none: the last checkpoint is used"),
        ("val_set_size=3", "3 dialogues of datasets"),
        ("val_set_size=0.25", "25% of datasets"),
        ("val_datasets=[{path: builtin/dialogues, split: validation}]", "builtin/dialogues, split validation"),
    ],
)
def test_the_validation_data_of_a_training_is_shown(plan_of, setting, said):
    _, text = plan_of(setting)
    assert f"validation  {said}\n" in text


def test_the_share_of_trained_weights_is_shown(plan_of):
    _, text = plan_of("adapter=lora")
    assert "trains 3,538,944 (1.41 %)" in text


def test_counts_of_hub_data_are_left_open(plan_of):
    _, text = plan_of(name=package_path("recipes/full_ft.yaml"))
    assert "google/flan-t5-base  (on the hub: downloaded when it runs)" in text
    assert "optimizer steps: known once the data is downloaded" in text
    _, text = plan_of("max_steps=1234", "num_epochs=null", name=package_path("recipes/full_ft.yaml"))
    assert "optimizer steps: 1,234" in text


def test_a_prompt_has_no_batch_arithmetic(plan_of):
    _, text = plan_of(name="prompt.yaml")
    assert "parameters  247,577,856" in text
    assert "global batch" not in text
    assert "memory  estimated for training recipes only" in text


def test_a_training_of_a_model_of_unknown_size_has_no_estimate(plan_of):
    _, text = plan_of("base_model=someone/unknown")
    assert "memory  not estimated: the sizes of this model are not known" in text


def test_what_a_process_on_a_cpu_holds_besides_its_tensors_is_shown(plan_of):
    _, text = plan_of()
    assert "a process on a CPU also holds about 0.7 GiB of Python" in " ".join(text.split())
    _, text = plan_of(gpus=[Gpu("large", 200 << 30, (8, 0))])
    assert "on a CPU" not in text


def test_a_device_that_is_too_small_is_reported(plan_of):
    _, text = plan_of(gpus=[Gpu("small", 2 << 30, (8, 0))])
    assert "the smallest device has 2.0 GiB: lower micro_batch_size or set gradient_checkpointing" in text
    _, text = plan_of(gpus=[Gpu("large", 200 << 30, (8, 0))])
    assert "smallest device" not in text


def test_a_config_that_fits_a_small_device_is_suggested(plan_of):
    recipe = package_path("recipes/flan-t5-xl/full_ft.yaml")
    gpus = [Gpu("middle", 40 << 30, (8, 0))] * 2
    _, text = plan_of("deepspeed=null", name=recipe, gpus=gpus)
    assert "it would fit with `deepspeed: ds_configs/zero1.json`, or lower micro_batch_size or set" in text
    _, text = plan_of(name=recipe, gpus=[Gpu("small", 2 << 30, (8, 0))])
    assert "lower micro_batch_size or set gradient_checkpointing, or add `adapter: lora`" in text
    _, text = plan_of("adapter=lora", "deepspeed=null", name=recipe, gpus=[Gpu("small", 2 << 30, (8, 0))])
    assert text.count("adapter: lora") == 0
    _, text = plan_of(name=package_path("recipes/flan-t5-xl/full_ft_offload.yaml"), gpus=gpus)
    assert "63.7 GiB of host memory on each node" in text


def test_the_suggestion_assumes_the_precision_of_the_estimate(plan_of):
    recipe = package_path("recipes/flan-t5-xl/full_ft.yaml")
    old = [Gpu("V100", 40 << 30, (7, 0))] * 2
    _, text = plan_of("deepspeed=null", "bf16=auto", name=recipe, gpus=old)
    assert "it would fit with `deepspeed: ds_configs/zero2_offload.json`" in text, "in bf16 zero1 would"


def test_no_config_is_suggested_for_an_optimizer_that_cannot_be_sharded(plan_of):
    recipe = package_path("recipes/flan-t5-xl/full_ft.yaml")
    gpus = [Gpu("middle", 30 << 30, (8, 0))] * 2
    _, text = plan_of("deepspeed=null", "optimizer=adafactor", name=recipe, gpus=gpus)
    assert "or add `adapter: lora`" in text
    assert "it would fit" not in text


def test_the_estimate_assumes_bf16_for_a_slurm_job(plan_of):
    job = ("launcher=slurm", "num_processes=null", "deepspeed=ds_configs/zero2.json")
    draft, text = plan_of(*job, "slurm={gpus_per_node: 2}")
    assert draft.memory.weights == 2 * 247_577_856
    assert "), assuming that the GPUs support bf16\n" in text
    draft, text = plan_of(*job, "slurm={gpus_per_node: 2}", "bf16=false")
    assert draft.memory.weights == 4 * 247_577_856
    assert "taking it" not in text
    assert "taking it" not in plan_of(*job, "slurm={nodes: 2}")[1]


def test_a_comparison_names_its_systems(plan_of):
    _, text = plan_of(name="both.yaml")
    assert "systems  prompt, train" in text


def test_the_script_of_a_slurm_job_is_shown(plan_of, everything_in, tmp_path):
    before = everything_in(tmp_path)
    sets = ["launcher=slurm", "slurm={nodes: 2, time: '1:00:00'}", "num_processes=null"]
    draft, text = plan_of(*sets)
    assert (
        "train and predict  2 × cpu on 2 machines (each adds its rank and the address of the first), data parallel"
        in text
    )
    script = text.split("job.sbatch  (for sbatch)\n")[1]
    assert "".join(f"{line[4:]}\n" for line in script.splitlines()) == sbatch_script(
        draft.name, draft.recipe.slurm, draft.stages, draft.run_dir
    )
    assert everything_in(tmp_path) == before


def test_the_command_for_each_of_several_machines_is_shown(plan_of, project, monkeypatch, capsys):
    monkeypatch.setenv("MASTER_ADDR", "first")
    monkeypatch.setenv("COLUMNS", "200")
    show_plan(project / "train.yaml", ["num_machines=2", "num_processes=2"], None)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "MACHINE_RANK" in line]
    assert [line.split(" && ")[1] for line in lines] == [
        f"MASTER_ADDR=first MASTER_PORT=29500 MACHINE_RANK={rank} summtune run {project}/train.yaml "
        "--set num_machines=2 --set num_processes=2"
        for rank in (0, 1)
    ]


def test_the_command_of_a_vllm_server_is_shown(plan_of, project, write_model, tmp_path, monkeypatch):
    executable = tmp_path / "vllm"
    executable.touch(0o755)
    monkeypatch.setenv("SUMMTUNE_VLLM", str(executable))
    llama = {"model_type": "llama", "is_encoder_decoder": False, "num_attention_heads": 6, "num_key_value_heads": 2}
    write_model(project / "model", **llama)
    gpus = [Gpu("A100", 40 << 30, (8, 0))] * 4
    draft, text = plan_of("generation.engine=vllm", gpus=gpus)
    lines = [line.strip() for line in text.splitlines()]
    assert "vLLM server  in the predict stage, on one cuda device" in lines, "the training has one process"
    served = next(line for line in lines if line.startswith("$SUMMTUNE_VLLM serve"))
    assert shlex.split(served)[2] == str(draft.run_dir / "model")
    assert "--dtype bfloat16" in served
    assert "--port PORT" in served
    _, text = plan_of("generation.engine=vllm", name="prompt.yaml", gpus=gpus)
    assert "in the predict stage, over 2 GPUs\n" in text
    assert "--tensor-parallel-size 2" in text
