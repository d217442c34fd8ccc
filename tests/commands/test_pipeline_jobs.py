"""Stages in a Slurm job or on several machines run in order with the other stages."""

import pytest
from faked_stages import RecordingDisplay, write_predictions, write_training

from summtune.base.errors import StageError
from summtune.commands import pipeline
from summtune.commands.compare import run_comparison
from summtune.launchers.slurm import Job
from summtune.plan.resolve import resolve
from summtune.runs.run_directory import is_complete, mark_complete

SLURM = ("launcher=slurm", "slurm={nodes: 2}", "num_processes=null")


@pytest.fixture
def display(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    display = RecordingDisplay()
    display.listener = lambda event: display.stages.append((event["stage"], event["text"]))
    return display


@pytest.fixture
def slurm(monkeypatch):
    """Replace Slurm: a job runs while it is followed; ``fail_in`` names a stage that fails."""
    record = {"jobs": [], "followed": [], "fail_in": None, "goes_on": False}

    def submit(plan, run_dir):
        record["jobs"].append(run_dir)
        return Job(str(len(record["jobs"])), 0)

    def follow(job, run_dir, stages, listener):
        record["followed"].append((job.id, *stages))
        for stage in stages:
            if record["fail_in"] == stage:
                raise StageError(f"the {stage} stage failed in Slurm job {job.id}")
            {"train": write_training, "predict": write_predictions}[stage](run_dir)
            mark_complete(run_dir, stage)

    def take_up(run_dir, stages, listener, *, launcher, fresh, detach):
        record["taken_up"] = (list(stages), launcher, fresh, detach)
        return not record["goes_on"]

    for name, stand_in in {"submit": submit, "follow": follow, "take_up": take_up}.items():
        monkeypatch.setattr(pipeline.slurm, name, stand_in)
    return record


def run(project, display, *sets, **options):
    return pipeline.run(resolve(project / "train.yaml", [*SLURM, *sets], project / "run"), display, **options)


def test_one_job_trains_and_predicts_and_the_command_does_the_rest(project, slurm, display):
    run_dir = run(project, display, "deepspeed=ds_configs/zero2.json")
    assert slurm["followed"] == [("1", "train", "predict")]
    assert [name for name, _ in display.stages] == ["data", "train", "slurm", "evaluate", "report"]
    assert (run_dir / "report.html").is_file()
    assert "num_machines: 2" in (run_dir / "accelerate.yaml").read_text()


def test_the_next_job_runs_the_incomplete_stages(project, slurm, display):
    slurm["fail_in"] = "predict"
    with pytest.raises(StageError, match="the predict stage failed in Slurm job 1"):
        run(project, display)
    slurm["fail_in"] = None
    run(project, display)
    assert slurm["followed"] == [("1", "train", "predict"), ("2", "predict")]
    run(project, display)
    assert len(slurm["jobs"]) == 2


def test_a_detached_run_ends_with_the_submission(project, slurm, display):
    assert run(project, display, detach=True) is None
    assert (len(slurm["jobs"]), slurm["followed"]) == (1, [])
    assert not is_complete(project / "run", "evaluate")


def test_nothing_is_changed_while_a_job_runs(project, slurm, display, everything_in):
    run(project, display, detach=True)
    before = everything_in(project / "run")
    slurm["goes_on"] = True
    assert run(project, display, "micro_batch_size=4", "gradient_accumulation_steps=2", detach=True) is None
    assert slurm["taken_up"] == (["train", "predict"], "slurm", False, True)
    assert everything_in(project / "run") == before
    assert len(slurm["jobs"]) == 1


def test_a_detached_comparison_submits_every_job(project, slurm, display):
    text = (project / "train.yaml").read_text().replace("num_processes: 1\n", "")
    (project / "train.yaml").write_text(f"{text}launcher: slurm\nslurm: {{nodes: 2}}\n")
    (project / "other.yaml").write_text(f"{(project / 'train.yaml').read_text()}seed: 7\n")
    (project / "both.yaml").write_text("kind: compare\nrecipes: [train.yaml, other.yaml]\n")
    comparison = resolve(project / "both.yaml", output_dir=project / "out")
    assert run_comparison(comparison, display, detach=True) is None
    assert len(slurm["jobs"]) == 2
    assert not (project / "out" / "comparison.json").exists()
    assert run_comparison(comparison, display) == project / "out"
    assert (project / "out" / "comparison.json").is_file()


def test_stages_on_several_machines_are_started_with_the_others(project, slurm, display):
    started = []

    class Others:
        def run_everywhere(self, launch, run_dir, stages, listener):
            started.append((launch.machines, *stages))
            write_training(run_dir)
            mark_complete(run_dir, "train")
            write_predictions(run_dir)
            mark_complete(run_dir, "predict")

    resolved = resolve(project / "train.yaml", ["num_machines=2", "num_processes=2"], project / "run")
    assert pipeline.run(resolved, display, others=Others()) == project / "run"
    assert started == [(2, "train", "predict")]
    assert slurm["jobs"] == []


def test_a_job_is_submitted_only_for_stages_that_are_not_reused(project, slurm, display):
    run(project, display)
    beams = resolve(project / "train.yaml", [*SLURM, "generation.num_beams=2"], project / "beams")
    assert pipeline.run(beams, display) == project / "beams"
    assert slurm["followed"][1:] == [("2", "predict")]
    plain = resolve(project / "train.yaml", [*SLURM, "evaluation.use_stemmer=false"], project / "plain")
    assert pipeline.run(plain, display, detach=True) == project / "plain", "there is no job to leave"
    assert len(slurm["jobs"]) == 2
    assert is_complete(project / "plain", "report")


def test_the_other_machines_are_not_called_for_stages_that_are_reused(project, slurm, display):
    started = []

    class Others:
        def run_everywhere(self, launch, run_dir, stages, listener):
            started.append(stages)
            write_predictions(run_dir)
            mark_complete(run_dir, "predict")

    run(project, display)
    for setting in ("generation.num_beams=2", "evaluation.use_stemmer=false"):
        sets = ["num_machines=2", "num_processes=2", setting]
        draft = resolve(project / "train.yaml", sets, project / setting)
        assert pipeline.run(draft, display, others=Others()) == project / setting
    assert started == [("predict",)]
