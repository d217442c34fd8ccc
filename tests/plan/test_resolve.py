"""A recipe is resolved into a draft: devices, launches, memory, run directories."""

import pytest

from summtune.base.errors import InputError
from summtune.machine.devices import Gpu
from summtune.plan.beginning import origin_now
from summtune.plan.draft import machines_of, runs_of
from summtune.plan.launch import global_batch
from summtune.plan.resolve import resolve

A100 = Gpu("A100", 40 << 30, (8, 0))
V100 = Gpu("V100", 32 << 30, (7, 0))


@pytest.fixture(autouse=True)
def gpus(monkeypatch):
    """No GPU; a test appends those it wants."""
    seen = []
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: list(seen))
    return seen


def launches(draft):
    return {
        name: group.launch and (group.launch.distribution, group.launch.processes, group.launch.device)
        for group in draft.stages
        for name in group.names
    }


def test_a_machine_without_gpus_gets_one_process(project):
    assert launches(resolve(project / "prompt.yaml")) == {
        "predict": ("none", 1, "cpu"), "evaluate": None, "report": None,
    }  # fmt: skip


def test_every_visible_gpu_gets_a_process(project, gpus):
    gpus += [A100, A100]
    draft = resolve(project / "train.yaml", ["num_processes=null"])
    assert launches(draft)["train"] == ("data_parallel", 2, "cuda")
    assert global_batch(draft.recipe, draft.train.processes) == 16
    assert launches(resolve(project / "train.yaml"))["train"] == ("none", 1, "cuda")


def test_more_processes_than_devices_are_refused(project, gpus):
    gpus.append(A100)
    match = r"num_processes exceeds the visible devices \(got 2, 1 visible\); set it to 1, or remove it to use all"
    with pytest.raises(InputError, match=match):
        resolve(project / "train.yaml", ["num_processes=2"])


def test_num_processes_counts_all_machines(project, gpus):
    gpus += [A100, A100]
    draft = resolve(project / "train.yaml", ["num_processes=null", "num_machines=3"])
    assert launches(draft)["train"] == ("data_parallel", 6, "cuda")
    assert global_batch(draft.recipe, draft.train.processes) == 48
    launch = draft.train
    assert (launch.machines, launch.processes_per_machine) == (3, 2)
    fewer = resolve(project / "train.yaml", ["num_processes=3", "num_machines=3"])
    assert fewer.train.processes_per_machine == 1
    assert machines_of(fewer) == 3
    match = r"exceeds the visible devices \(got 9, 6 on 3 machines with 2 each\); set it to 6, or"
    with pytest.raises(InputError, match=match):
        resolve(project / "train.yaml", ["num_processes=9", "num_machines=3"])


def test_a_slurm_job_has_the_requested_gpus_and_not_those_of_this_machine(project, gpus):
    gpus.append(A100)
    slurm = ["launcher=slurm", "num_processes=null"]
    draft = resolve(project / "train.yaml", [*slurm, "slurm={nodes: 2, gpus_per_node: 4}"])
    assert launches(draft)["train"] == ("data_parallel", 8, "cuda")
    assert draft.train.machines == 2
    assert machines_of(draft) == 1, "the command is given once"
    assert draft.gpus == ()
    on_cpus = resolve(project / "train.yaml", [*slurm, "slurm={nodes: 2}"])
    assert launches(on_cpus)["train"] == ("data_parallel", 2, "cpu")
    assert on_cpus.identity != draft.identity, "the global batch is another one"


def test_a_comparison_needs_as_many_machines_as_its_largest_system(project):
    text = (project / "train.yaml").read_text().replace("num_processes: 1", "num_machines: 2")
    (project / "train.yaml").write_text(text)
    assert machines_of(resolve(project / "both.yaml")) == 2
    assert [machines_of(run) for run in runs_of(resolve(project / "both.yaml"))] == [1, 2]


def test_with_deepspeed_only_the_training_uses_it(project):
    draft = resolve(project / "train.yaml", ["deepspeed=ds_configs/zero3.json", "num_processes=2"])
    assert launches(draft)["train"] == ("deepspeed", 2, "cpu")
    assert launches(draft)["predict"] == ("data_parallel", 2, "cpu")
    assert [draft.train.config_file, draft.predict.config_file] == ["accelerate.yaml", "accelerate.predict.yaml"]
    assert draft.train.zero_stage == 3


def test_weights_are_counted_and_memory_is_estimated(project, gpus):
    full = resolve(project / "train.yaml")
    assert full.parameters.trainable == full.parameters.total == 247_577_856
    assert full.memory.weights == 4 * 247_577_856
    lora = resolve(project / "train.yaml", ["adapter=lora"])
    assert (lora.parameters.trainable, lora.parameters.total) == (3_538_944, 251_116_800)
    sharded = resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"])
    assert sharded.memory.weights == 4 * 247_577_856, "no bf16 on this CPU as far as the command knows"
    gpus.append(A100)
    assert resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"]).memory.weights == 2 * 247_577_856
    gpus[0] = V100
    assert resolve(project / "train.yaml", ["deepspeed=ds_configs/zero2.json"]).memory.weights == 4 * 247_577_856


def test_a_model_of_unknown_size_has_no_counts_and_no_estimate(project, write_model):
    write_model(project / "bart", model_type="bart")
    draft = resolve(project / "train.yaml", ["base_model=./bart"])
    assert (draft.memory, draft.parameters) == (None, None)
    odd = resolve(project / "train.yaml", ["adapter=lora", "lora_target_modules=[SelfAttention.q]"])
    assert (odd.memory, odd.parameters) == (None, None)


def test_the_run_directory_is_named_after_the_recipe_and_its_identity(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draft = resolve(project / "train.yaml")
    assert draft.run_dir == tmp_path / "outputs" / f"train-{draft.identity[:8]}"
    assert resolve(project / "train.yaml", ["output_dir=mine"]).run_dir == project / "mine"
    assert resolve(project / "train.yaml", ["output_dir=mine"], tmp_path / "x").run_dir == tmp_path / "x"
    assert not (tmp_path / "outputs").exists()


def test_a_comparison_shares_the_runs_of_its_recipes(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    comparison = resolve(project / "both.yaml")
    parts = dict(comparison.parts)
    assert parts["train"].run_dir == resolve(project / "train.yaml").run_dir
    elsewhere = resolve(project / "both.yaml", output_dir=tmp_path / "x")
    assert elsewhere.run_dir == tmp_path / "x"
    assert dict(elsewhere.parts)["train"].run_dir.parent == tmp_path / "x" / "systems"


def test_the_commit_of_the_recipes_repository_is_recorded(project):
    assert origin_now(project).git_commit is None


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nid", "a\x1b[2J"])
def test_a_slurm_run_directory_that_would_break_the_job_script_is_refused(project, name):
    sets = ["launcher=slurm", "slurm.time=1:00:00"]
    with pytest.raises(
        InputError, match="the run directory of a Slurm job must not have quotes, backslashes or control "
    ) as told:
        resolve(project / "prompt.yaml", sets, project / name)
    assert str(project / name) in str(told.value)
    assert resolve(project / "prompt.yaml", sets, project / "a b's %j").run_dir == project / "a b's %j"
    assert resolve(project / "prompt.yaml", [], project / name).run_dir == project / name
