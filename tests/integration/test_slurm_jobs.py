"""Real jobs on a real Slurm cluster of two nodes: run, detached, cancelled, stopped and requeued."""

import signal

import pytest
import slurm_cluster
from families import both_families
from real_command import Finished, layout, logs_of, processes_of, run_to_the_end, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.usefixtures("compiled")]

STEPS = 12


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory):
    why_not = slurm_cluster.missing()
    if why_not is not None:
        pytest.skip(why_not)
    cluster = slurm_cluster.Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(running_cluster, monkeypatch):
    """The cluster, free, and the commands of this test at its login node."""
    for key, value in running_cluster.environment.items():
        monkeypatch.setenv(key, value)
    yield running_cluster
    running_cluster.clear()


@pytest.fixture(scope="module")
def recipe(write_recipe):
    """13 pairs in global batches of 8: two steps an epoch, the second one filled up."""
    test = [{"path": "test.jsonl", "id_field": "id", "limit": 4}]
    return write_recipe("slurm", num_epochs=STEPS / 2, val_set_size=5, test_datasets=test)


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    """The same training in one process of this machine."""
    return run_to_the_end(recipe, tmp_path_factory.mktemp("local") / "run")


def on_nodes(nodes=2, micro_batch_size=4, **keys):
    return layout(launcher="slurm", **{"slurm.nodes": nodes}, micro_batch_size=micro_batch_size, **keys)


def job_in(run_dir):
    return Finished(run_dir).json("job.json")["id"]


def step_of_last_checkpoint(run_dir):
    manifests = (run_dir / "checkpoints").glob("checkpoint-*/manifest.json")
    return max((int(path.parent.name.split("-")[1]) for path in manifests), default=0)


def assert_same_result(run, reference, steps=STEPS):
    assert [row["step"] for row in run.steps] == list(range(1, steps + 1))
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    assert run.evaluations == pytest.approx(reference.evaluations, rel=1e-3)
    assert run.texts == reference.texts
    assert run.json("plan.json")["identity"] == reference.json("plan.json")["identity"]
    assert (run.folder / "report.html").is_file()


@pytest.mark.parametrize("zero", [None, "ds_configs/zero2.json"])
@both_families
def test_two_nodes_train_the_same_model(cluster, recipe, reference, tmp_path, zero):
    run_dir = tmp_path / "run"
    run = run_to_the_end(recipe, run_dir, *on_nodes(**({"deepspeed": zero} if zero else {})))
    assert_same_result(run, reference)
    assert run.json("training.json")["processes"] == 2
    job = job_in(run_dir)
    assert f"job {job}: running" in run.said
    assert "NumNodes=2" in cluster.show(job)
    assert {path.name for path in (run_dir / "logs").glob("*machine*")} == {
        "launcher.machine0.log", "launcher.machine1.log",
    }  # fmt: skip
    assert {path.name for path in (run_dir / "logs").glob("train.rank*")} == {"train.rank0.log", "train.rank1.log"}


def test_a_detached_run_is_followed_by_the_same_command(cluster, recipe, reference, tmp_path, command):
    run_dir = tmp_path / "run"
    code, said = command(recipe, run_dir, *on_nodes(), "--detach").finish(60)
    assert code == 0, said
    job = job_in(run_dir)
    assert f"job {job}" in said
    assert "run the same command again to see the progress and the result" in said
    assert not (run_dir / "metrics.json").exists()

    # Interrupting the command that follows does not affect the job.
    follower = command(recipe, run_dir, *on_nodes())
    wait_until(lambda: (run_dir / "logs" / "train.rank1.log").exists(), what="the training")
    follower.send(signal.SIGINT)
    code, said = follower.finish(20)
    assert code == 130
    assert f"job {job} continues; `scancel {job}` ends it, the same command follows it again" in said
    assert cluster.state(job) in ("RUNNING", "COMPLETING", "COMPLETED")

    run = run_to_the_end(recipe, run_dir, *on_nodes())
    assert_same_result(run, reference)
    assert job_in(run_dir) == job, "there was one job"


def test_other_runs_in_the_directory_of_an_active_job_are_refused(cluster, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    # The job is held and never starts.
    code, said = command(recipe, run_dir, *on_nodes(**{"slurm.extra": "[--hold]"}), "--detach").finish(60)
    assert code == 0, said
    job = job_in(run_dir)
    for options in (("--fresh", *on_nodes()), layout(micro_batch_size=8)):
        code, said = command(recipe, run_dir, *options).finish(60)
        assert code == 2, said
        assert f"Slurm job {job} is active in this directory (got PENDING for {run_dir}); `scancel {job}` ends" in said
    code, said = command(recipe, run_dir, *on_nodes(), "--detach").finish(60)
    assert code == 0, said
    assert f"job {job}: pending; the same command without --detach follows it" in said
    assert job_in(run_dir) == job


def test_a_cancelled_job_is_reported_and_the_next_one_resumes(cluster, recipe, reference, tmp_path, command):
    run_dir = tmp_path / "run"
    follower = command(recipe, run_dir, *on_nodes())
    wait_until(lambda: step_of_last_checkpoint(run_dir) >= 2, what="a checkpoint")
    job = job_in(run_dir)
    cluster.run("scancel", job)
    code, said = follower.finish(60)
    assert code == 1, said
    assert f"Slurm job {job}" in said
    assert "CANCELLED" in said
    assert f"log: {run_dir}/logs/" in said
    wait_until(lambda: not processes_of(run_dir), 20, "the end of all processes")
    step = step_of_last_checkpoint(run_dir)

    run = run_to_the_end(recipe, run_dir, *on_nodes())
    assert run.json("training.json")["resumed_from_step"] == step
    assert job_in(run_dir) != job
    assert_same_result(run, reference)


def test_a_failed_job_is_reported_with_its_cause(cluster, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    code, said = command(recipe, run_dir, *on_nodes(1, 8, **{"slurm.setup": "['exit 3']"})).finish(60)
    job = job_in(run_dir)
    assert code == 1, said
    assert f"Slurm job {job} ended before its stages were complete (got FAILED, exit code 3:0)" in said
    assert f"log: {run_dir}/logs/slurm-{job}.log" in said
    # The error of a process is a better cause than the state of the job.
    (run_dir / "data" / "train.jsonl").write_text("")
    code, said = command(recipe, run_dir, *on_nodes(1, 8)).finish()
    assert code == 2, said
    assert (
        f"the train stage failed in Slurm job {job_in(run_dir)} (FAILED, exit code 1:0): train: no dialogue is left"
        in said
    )
    assert f"log: {run_dir}/logs/train.rank0.log" in said


def test_a_job_that_slurm_rejects_is_reported(cluster, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    code, said = command(recipe, run_dir, *on_nodes(**{"slurm.partition": "nowhere"})).finish(60)
    assert code == 2, said
    assert "sbatch rejected the job (got 'sbatch: error: " in said
    assert "invalid partition" in said.lower()
    assert not (run_dir / "job.json").exists()


def test_a_job_near_its_time_limit_saves_requeues_itself_and_finishes(cluster, recipe, reference, tmp_path, command):
    run_dir = tmp_path / "run"
    follower = command(recipe, run_dir, *on_nodes())
    wait_until(lambda: step_of_last_checkpoint(run_dir) >= 2, what="a checkpoint")
    job = job_in(run_dir)
    # As Slurm does stop_seconds before the limit, which has a resolution of minutes.
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: "Restarts=1" in cluster.show(job), what="the requeue")
    step = step_of_last_checkpoint(run_dir)
    assert 2 <= step < STEPS
    code, said = follower.finish()
    assert code == 0, said + logs_of(run_dir)
    assert job_in(run_dir) == job
    assert f"job {job}: pending" in said
    run = Finished(run_dir, said)
    assert run.json("training.json")["resumed_from_step"] == step
    assert_same_result(run, reference)
    log = (run_dir / "logs" / f"slurm-{job}.log").read_text()
    assert "stopped, and saved; requeueing" in log


def test_a_preempted_job_saves_and_resumes_after_its_requeue(cluster, recipe, tmp_path, command):
    run_dir = tmp_path / "run"
    longer = {"num_epochs": 150, "learning_rate": 0.0001}  # Slurm takes a second or two to preempt
    follower = command(recipe, run_dir, *on_nodes(**longer, **{"slurm.partition": "spare"}))
    wait_until(lambda: step_of_last_checkpoint(run_dir) >= 2, what="a checkpoint")
    job = job_in(run_dir)
    done = cluster.run("sbatch", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "Restarts=1" in cluster.show(job), what="the requeue")
    step = step_of_last_checkpoint(run_dir)
    assert 2 <= step < 300
    code, said = follower.finish()
    assert code == 0, said + logs_of(run_dir)
    assert job_in(run_dir) == job
    run = Finished(run_dir, said)
    assert run.json("training.json")["resumed_from_step"] == step
    assert "stopped, and saved; requeueing" in (run_dir / "logs" / f"slurm-{job}.log").read_text()
    assert_same_result(run, run_to_the_end(recipe, tmp_path / "alone", *layout(**longer)), steps=300)


@pytest.mark.parametrize("requeued", [True, False], ids=["requeued", "submitted-again"])
def test_a_smoke_run_is_a_job_that_pauses_and_resumes(cluster, recipe, tmp_path, command, requeued):
    options = on_nodes(**{"slurm.time": "'12:00:00'"})
    if not requeued:  # as on a cluster that forbids it
        options += layout(**{"slurm.setup": '[\'scontrol() { [ "$1" != requeue ] && command scontrol "$@"; }\']'})
    code, said = command(recipe, tmp_path / "run", "--smoke", *options).finish(400)
    assert code == 0, said
    assert "resuming from checkpoint-1" in said
    assert "smoke  passed in " in said
    assert "and the time in Slurm's queue, which was " in said
    assert said.count("submitting ") == (1 if requeued else 2)
    assert list(tmp_path.iterdir()) == []
    assert {cluster.state(job) for job in cluster.jobs()} <= {"COMPLETED", "FAILED", "CANCELLED"}


def test_jobs_run_only_the_stages_that_are_not_reused(cluster, recipe, tmp_path):
    first = run_to_the_end(recipe, tmp_path / "first", *on_nodes())
    before = set(cluster.jobs())  # Slurm forgets old jobs
    beams = run_to_the_end(recipe, tmp_path / "beams", *on_nodes(**{"generation.num_beams": 2}), reuses=True)
    assert beams.started == ["predict"]
    assert beams.weights.keys() == first.weights.keys()
    assert "train  reused from " in beams.said
    (job,) = set(cluster.jobs()) - before
    plain = run_to_the_end(recipe, tmp_path / "plain", *on_nodes(**{"evaluation.use_stemmer": "false"}), reuses=True)
    assert plain.started == []
    assert plain.texts == first.texts
    assert not (plain.folder / "job.json").exists()
    assert set(cluster.jobs()) <= {*before, job}
