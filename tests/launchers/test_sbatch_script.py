"""The script of a Slurm job: its directives, and what it does when bash runs it with faked Slurm commands."""

import subprocess
import sys

import pytest

from summtune.base.files import write_json
from summtune.base.safe_python import START
from summtune.launchers.sbatch_script import sbatch_script


def script_of(plan, run_dir):
    return sbatch_script(plan.name, plan.recipe.slurm, plan.stages, run_dir)


def directives(text):
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_directives_follow_the_recipe(slurm_plan, tmp_path):
    plan = slurm_plan(
        partition="gpu", account="lab", time="12:00:00", nodes=4, gpus_per_node=8, cpus_per_node=32,
        constraint="a100&ib", stop_seconds=600, extra=["--mem=200G", "--qos=long"], setup=["module load cuda"],
    )  # fmt: skip
    text = script_of(plan, tmp_path)
    assert text.startswith("#!/bin/bash\n")
    assert directives(text) == [
        "--job-name=summtune-lora", f'--output="{tmp_path}/logs/slurm-%j.log"', "--open-mode=append", "--requeue",
        "--signal=B:USR1@600", "--nodes=4", "--ntasks-per-node=1", "--partition=gpu", "--account=lab",
        "--time=12:00:00", '--constraint="a100&ib"', "--gres=gpu:8", "--cpus-per-task=32", "--mem=200G", "--qos=long",
    ]  # fmt: skip
    assert "\nmodule load cuda\n" in text
    assert "srun --nodes=4 --ntasks=4 --ntasks-per-node=1 --mpi=none --kill-on-bad-exit=1 --cpus-per-task=32 " in text


def test_keys_missing_from_the_recipe_give_no_directives(slurm_plan, tmp_path):
    text = script_of(slurm_plan(), tmp_path)
    asked = {line.split("=")[0] for line in directives(text)}
    assert not asked & {"--partition", "--account", "--time", "--constraint", "--gres", "--cpus-per-task"}
    assert "--cpus-per-task" not in text


def test_gres_names_the_type_of_gpu(slurm_plan, tmp_path):
    text = script_of(slurm_plan(gpus_per_node=4, gpu_type="a100"), tmp_path)
    assert "--gres=gpu:a100:4" in directives(text)


def test_stages_that_are_launched_alike_share_a_step(slurm_plan, tmp_path):
    assert script_of(slurm_plan(), tmp_path).endswith("\nrun train predict\n")
    assert script_of(slurm_plan(deepspeed=True), tmp_path).endswith("\nrun train\nrun predict\n")


def test_special_characters_in_names_are_quoted(slurm_plan, tmp_path):
    folder = tmp_path / '50% of $HOME\'s "runs"'
    text = script_of(slurm_plan(name="my recipe; rm -rf"), folder)
    assert "--job-name=summtune-my_recipe__rm_-rf" in directives(text)
    assert "50%% of" in next(line for line in directives(text) if line.startswith("--output"))
    (setting,) = [line for line in text.splitlines() if line.startswith("run_dir=")]
    done = subprocess.run(["bash", "-c", f'{setting}; echo "$run_dir"'], capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}\n"


@pytest.fixture
def run_script(slurm_plan, tmp_path, commands):
    """Run the script as job 12 of a run directory that belongs to job ``job``; ``srun`` is what a step does."""
    run_dir = tmp_path / "a run"
    (run_dir / "logs").mkdir(parents=True)

    def run(srun, job="12", deepspeed=True, edit=("", ""), **others):
        commands(**({"srun": srun, "scontrol": "", "sleep": "", "hostname": "echo first"} | others))
        if job is not None:
            write_json(run_dir / "job.json", {"id": job, "events_from": 0})
        script = tmp_path / "job.sbatch"
        script.write_text(script_of(slurm_plan(deepspeed), run_dir).replace(*edit, 1))
        environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "SLURM_JOB_ID": "12", "RUN": str(run_dir)}
        done = subprocess.run(
            ["bash", script], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        called = [call for call in commands() if not call.startswith(("sleep", "hostname"))]
        return done, called

    run.run_dir = run_dir
    return run


def steps(called):
    return [call.split()[-1] for call in called if call.startswith("srun")]


# A step during which the signal arrives; the placeholder is what it does then.
SIGNALLED = "trap '{}' USR1\nkill -USR1 $PPID; for i in $(seq 100); do /bin/sleep 0.1; done"
MARK = 'mkdir -p "$RUN/stages"; touch "$RUN/stages/${@: -1}.json"'


def test_each_launch_is_a_step_on_every_node(run_script):
    done, called = run_script(MARK)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = called
    assert first == (
        "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --mpi=none --kill-on-bad-exit=1 "
        f"{sys.executable} {START} summtune.launchers.slurm_node {run_script.run_dir} train"
    )
    assert second.endswith(f"{run_script.run_dir} predict")


def test_the_nodes_get_the_address_and_port_of_the_first_one(run_script):
    done, _ = run_script('echo "$MASTER_ADDR:$MASTER_PORT"')
    assert done.stdout.splitlines() == ["first:20012"] * 2


def test_complete_stages_do_not_run_again(run_script):
    (run_script.run_dir / "stages").mkdir()
    (run_script.run_dir / "stages" / "train.json").touch()
    _, called = run_script("")
    assert steps(called) == ["predict"]
    (run_script.run_dir / "stages" / "predict.json").touch()
    _, called = run_script("", deepspeed=False)
    assert steps(called) == ["predict"]


def test_a_step_that_fails_ends_the_job_with_its_code(run_script):
    done, called = run_script("exit 3")
    assert done.returncode == 3
    assert steps(called) == ["train"]
    assert not any("requeue" in call for call in called)


def test_a_job_that_saved_something_before_it_stopped_requeues_itself(run_script):
    done, called = run_script('mkdir "$RUN/checkpoints"; touch "$RUN/checkpoints/checkpoint-1"; exit 75')
    assert done.returncode == 75
    assert called[-1] == "scontrol requeue 12"
    assert steps(called) == ["train"]


def test_a_job_of_which_one_node_has_stopped_requeues_itself(run_script):
    stopped = 'mkdir "$RUN/checkpoints"; touch "$RUN/checkpoints/checkpoint-1" "$RUN/logs/job.stopped"; exit 143'
    done, called = run_script(stopped)
    assert done.returncode == 75
    assert called[-1] == "scontrol requeue 12"
    done, _ = run_script("exit 143")
    assert done.returncode == 143, "of this step, not of an earlier one"


def test_a_job_that_may_not_requeue_itself_says_so(run_script):
    done, _ = run_script('mkdir "$RUN/checkpoints"; exit 75', scontrol="exit 1")
    assert done.returncode == 76
    assert done.stderr == "Slurm does not let job 12 requeue itself\n"


SAVED_AND_TERMINATED = 'mkdir "$RUN/checkpoints"; exit 143'


def test_a_preempted_job_requeues_itself(run_script):
    state = 'echo "JobId=12 JobState=RUNNING Reason=None PreemptTime=2026-01-01T00:00:00 SuspendTime=None"'
    done, called = run_script(SAVED_AND_TERMINATED, scontrol=state)
    assert done.returncode == 75
    assert called[-2:] == ["scontrol show job --oneliner 12", "scontrol requeue 12"]


@pytest.mark.parametrize("state", ["RUNNING Reason=None PreemptTime=None", "CANCELLED PreemptTime=2026-01-01T00:00:00"])
def test_a_cancelled_job_does_not_requeue_itself(run_script, state):
    done, called = run_script(SAVED_AND_TERMINATED, scontrol=f'echo "JobState={state}"')
    assert done.returncode == 143
    assert called[-1] == "scontrol show job --oneliner 12"


def test_a_step_that_fails_while_a_signal_is_handled_fails_the_job(run_script):
    slow = ('echo "asked to stop"', 'echo "asked to stop"; /bin/sleep 1')
    done, _ = run_script('trap "" USR1; kill -USR1 $PPID; exit 9', edit=slow)
    assert done.stdout == "asked to stop\n"
    # On a busy machine bash 5.2 sometimes forgets a code in this window: `wait` returns -1, which is 255.
    assert done.returncode in (9, 255)


def test_a_job_that_saved_nothing_does_not_requeue_itself(run_script):
    for name in ("checkpoints", "stages", "predictions.partial"):
        (run_script.run_dir / name).mkdir()
    done, called = run_script("exit 75")
    assert done.returncode == 75
    assert not any("requeue" in call for call in called)


def test_the_signal_before_the_time_limit_reaches_the_step(run_script):
    done, called = run_script(SIGNALLED.format('mkdir "$RUN/checkpoints"; echo saved; exit 75'))
    assert done.stdout.splitlines() == ["asked to stop", "saved", "stopped, and saved; requeueing"]
    assert done.returncode == 75
    assert called[-1] == "scontrol requeue 12"


def test_a_slow_node_that_srun_ended_is_requeued_with_the_others(run_script):
    done, called = run_script(SIGNALLED.format('mkdir "$RUN/checkpoints"; exit 143'))
    assert done.returncode == 75
    assert called[-1] == "scontrol requeue 12"


def test_a_step_that_fails_when_asked_to_stop_without_saving_fails_the_job(run_script):
    done, called = run_script(SIGNALLED.format("exit 9"))
    assert done.returncode == 9
    assert not any("requeue" in call for call in called)


def test_the_signal_between_two_steps_is_not_lost(run_script):
    done, called = run_script(f"trap '' USR1\nkill -USR1 $PPID\n{MARK}")  # the step was about to end
    assert done.returncode == 75
    assert steps(called) == ["train"]
    assert called[-1] == "scontrol requeue 12"


@pytest.mark.parametrize("job", ["13", "1", None])
def test_a_job_that_job_json_does_not_name_does_nothing(run_script, job):
    done, called = run_script("", job=job)
    assert done.returncode == 1
    assert f"job 12 is not the job of {run_script.run_dir}; ending" in done.stderr
    assert called == []


@pytest.mark.parametrize(
    ("given", "seen"),
    [(None, ""), (":", ""), (":/x::/y:", "/x:/y"), ("/x", "/x"), (".:/a b", ".:/a b")],
)
def test_the_processes_import_nothing_from_the_current_folder(run_script, given, seen):
    set_up = "" if given is None else f"export PYTHONPATH='{given}'\n"
    first = "# Python must import nothing"
    done, _ = run_script('echo "[$PYTHONPATH] $PYTHONSAFEPATH"', edit=(first, set_up + first))
    assert done.stdout.splitlines() == [f"[{seen}] 1"] * 2
