"""Slurm's output is parsed, and its refusals and silences are reported."""

import pytest

from summtune.base.errors import InputError, StageError
from summtune.launchers import slurm_commands
from summtune.launchers.slurm_commands import State, state_of, submit_script

GONE = 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1'


def job(state, reason="None", exit_code="0:0"):
    return (
        f"echo 'JobId=12 JobName=summtune-lora UserId=me(1) JobState={state} Reason={reason} Dependency=(null) "
        f"Restarts=0 ExitCode={exit_code} RunTime=00:00:01'"
    )


@pytest.mark.parametrize(("output", "id_"), [("12", "12"), ("12;cluster", "12"), ("a notice\n12", "12")])
def test_a_script_is_submitted(commands, tmp_path, output, id_):
    commands(sbatch=f"echo '{output}'")
    assert submit_script(tmp_path / "job.sbatch") == id_
    assert commands() == [f"sbatch --parsable {tmp_path}/job.sbatch"]


def test_a_rejected_script_is_reported_with_slurms_reason(commands, tmp_path):
    commands(sbatch="echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1")
    match = r"\(got '.*Invalid account' for .*job.sbatch\); correct the slurm section of the recipe"
    with pytest.raises(InputError, match=match):
        submit_script(tmp_path / "job.sbatch")


def test_a_machine_without_slurm_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    match = r"needs Slurm's commands \(got no sbatch on this machine\); run it on a login node"
    with pytest.raises(InputError, match=match):
        submit_script(tmp_path / "job.sbatch")


def test_variables_of_another_allocation_do_not_reach_sbatch(commands, tmp_path, monkeypatch):
    for key in ("SLURM_JOB_ID", "SLURM_NNODES", "SLURM_CONF", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(key, "x")
    commands(sbatch=f"env > {tmp_path}/env; echo 12")
    submit_script(tmp_path / "job.sbatch")
    seen = {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert {"SLURM_CONF", "SBATCH_ACCOUNT"} <= seen
    assert not {"SLURM_JOB_ID", "SLURM_NNODES"} & seen


@pytest.mark.parametrize(
    ("output", "state", "active"),
    [
        (job("PENDING", "Resources"), State("PENDING", "Resources", "0:0"), True),
        (job("RUNNING"), State("RUNNING", "", "0:0"), True),
        (job("COMPLETING"), State("COMPLETING", "", "0:0"), True),
        (job("REQUEUED"), State("REQUEUED", "", "0:0"), True),
        (job("COMPLETED"), State("COMPLETED", "", "0:0"), False),
        (job("FAILED", "NonZeroExitCode", "3:0"), State("FAILED", "NonZeroExitCode", "3:0"), False),
        (job("TIMEOUT", "TimeLimit", "0:15"), State("TIMEOUT", "TimeLimit", "0:15"), False),
    ],
)
def test_the_state_is_read_from_the_controller(commands, output, state, active):
    commands(scontrol=output)
    assert state_of("12") == state
    assert state.active is active
    assert commands() == ["scontrol show job --oneliner 12"]


@pytest.mark.parametrize(
    ("sacct", "state"),
    [
        ("echo 'CANCELLED by 1000|0:9'", State("CANCELLED", "", "0:9")),
        ("echo 'COMPLETED|0:0'", State("COMPLETED", "", "0:0")),
        ("", State("UNKNOWN")),
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", State("UNKNOWN")),
    ],
)
def test_the_state_of_a_forgotten_job_is_read_from_accounting(commands, sacct, state):
    commands(scontrol=GONE, sacct=sacct)
    assert state_of("12") == state
    assert not state.active


def test_the_state_is_unknown_without_accounting(tmp_path, commands, monkeypatch):
    commands(scontrol=GONE)
    monkeypatch.setattr(
        slurm_commands.shutil, "which", lambda name: None if name == "sacct" else str(tmp_path / "bin" / name)
    )
    assert state_of("12") == State("UNKNOWN")


def test_a_controller_that_does_not_answer_is_an_error(commands, monkeypatch):
    commands(scontrol="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    match = r"the state of job 12 \(got '.*Unable to contact slurm controller'\); give the same command"
    with pytest.raises(StageError, match=match):
        state_of("12")
    commands(scontrol="exec sleep 5")
    monkeypatch.setattr(slurm_commands, "_COMMAND_SECONDS", 0.2)
    with pytest.raises(StageError, match=r"scontrol did not answer in 0 s"):
        state_of("12")
