"""A job is submitted, recorded, followed and found again, and its end is reported."""

import pytest

from summtune.base.errors import InputError, RunDirectoryError, StageError, StageStopped
from summtune.base.files import write_json
from summtune.launchers import slurm
from summtune.launchers.slurm import Job, failure, follow, job_of, submit, take_up
from summtune.launchers.slurm_commands import State
from summtune.runs.events import Events
from summtune.runs.run_directory import mark_complete

STAGES = ["train", "predict"]
JOB = Job("12", 0)
RUNNING = State("RUNNING")
DONE = State("COMPLETED")


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "slurm-12.log").touch()
    return folder


@pytest.fixture
def job_states(monkeypatch):
    """Set the states that a job passes through; a callable is called when its turn comes."""
    monkeypatch.setattr(slurm, "_EVENT_SECONDS", 0.001)
    monkeypatch.setattr(slurm, "_STATE_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "_VISIBLE_SECONDS", 0.05)

    def through(*states):
        left = list(states)

        def state_of(job_id):
            assert job_id == "12"
            state = left.pop(0) if len(left) > 1 else left[0]
            return state() if callable(state) else state

        monkeypatch.setattr(slurm, "state_of", state_of)
        return left

    return through


@pytest.fixture
def heard():
    """A listener that records the events."""
    events = []

    def listener(event):
        events.append(event)

    listener.events = events
    return listener


def texts(listener, kind="message"):
    return [event["text"] for event in listener.events if event["event"] == kind]


def complete(run_dir, *stages):
    files = {"train": "train_log.jsonl", "predict": "predictions.jsonl"}
    for stage in stages or STAGES:
        (run_dir / files[stage]).write_text("{}\n")
        mark_complete(run_dir, stage)


@pytest.mark.parametrize(
    "found", [{"id": "--help", "events_from": 0}, {"id": 12, "events_from": 0}, {"id": "12", "events_from": -1}, [], 7]
)
def test_an_invalid_job_file_is_refused(tmp_path, found):
    write_json(tmp_path / "job.json", found)
    with pytest.raises(InputError, match="names the Slurm job cannot be read"):
        job_of(tmp_path)


def test_a_submitted_job_is_recorded(commands, slurm_plan, run_dir):
    (run_dir / "logs" / "events.jsonl").write_text("{}\n")
    commands(sbatch="echo 12")
    assert submit(slurm_plan(), run_dir) == Job("12", 3) == job_of(run_dir)
    assert (run_dir / "job.sbatch").read_text().startswith("#!/bin/bash")
    # The script searches for exactly these characters.
    assert '"id": "12"' in (run_dir / "job.json").read_text()


def test_a_rejected_job_is_not_recorded(commands, slurm_plan, run_dir):
    commands(sbatch="echo no >&2; exit 1")
    with pytest.raises(InputError, match=r"sbatch rejected the job \(got 'no' for "):
        submit(slurm_plan(), run_dir)
    assert job_of(run_dir) is None


def test_a_job_file_without_an_id_is_refused_with_advice(run_dir):
    (run_dir / "job.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read \(got .*job.json: 'id'\); check with squeue"):
        job_of(run_dir)


def test_following_forwards_events_and_states_of_the_job(job_states, run_dir, heard):
    def speak():
        Events(run_dir, "train", 0).progress(1, 4)
        complete(run_dir)
        return DONE

    job_states(State("PENDING", "Resources"), State("PENDING", "Resources"), RUNNING, speak)
    follow(JOB, run_dir, STAGES, heard)
    assert texts(heard) == ["job 12: pending (Resources)", "job 12: running"]
    assert [event["done"] for event in heard.events if event["event"] == "progress"] == [1]


def test_events_from_before_the_job_are_not_forwarded(job_states, run_dir, heard):
    Events(run_dir, "train", 0).say("of another job")
    start = (run_dir / "logs" / "events.jsonl").stat().st_size
    Events(run_dir, "train", 0).say("while nobody looked")
    complete(run_dir)
    job_states(DONE)
    follow(Job("12", start), run_dir, STAGES, heard)
    assert texts(heard) == ["while nobody looked"]


def test_following_survives_a_controller_that_does_not_answer_for_a_while(job_states, run_dir, heard):
    def away():
        raise StageError("Slurm does not report the state of job 12")

    complete(run_dir)
    job_states(RUNNING, away, away, RUNNING, DONE)
    follow(JOB, run_dir, STAGES, heard)
    assert texts(heard, "warning") == ["Slurm does not report the state of job 12; still trying"]


def test_following_waits_until_outputs_become_visible(job_states, run_dir, heard, monkeypatch):
    looks = []
    monkeypatch.setattr(slurm, "is_complete", lambda *_: looks.append(1) or len(looks) > 6)
    monkeypatch.setattr(slurm, "_VISIBLE_SECONDS", 20.0)
    job_states(DONE)
    follow(JOB, run_dir, STAGES, heard)
    assert len(looks) > 6


@pytest.mark.parametrize(
    ("state", "match"),
    [
        (
            State("TIMEOUT"),
            r"ended before its stages were complete \(got TIMEOUT\): a step and a checkpoint did not fit",
        ),
        (State("OUT_OF_MEMORY"), r"\(got OUT_OF_MEMORY\): memory ran out; lower micro_batch_size, or ask for more"),
        (State("NODE_FAIL"), r"\(got NODE_FAIL\): a node failed; the same command resumes from the last checkpoint"),
        (State("CANCELLED"), r"\(got CANCELLED\): it was cancelled; the same command resumes"),
        (State("PREEMPTED"), r"\(got PREEMPTED\): a job with priority replaced it"),
        (State("FAILED", "NonZeroExitCode", "3:0"), r"\(got FAILED, exit code 3:0\): its script failed"),
        (
            State("FAILED", "", "75:0"),
            r"\(got FAILED, exit code 75:0\): it was asked to stop \(time limit or preemption\)",
        ),
        (State("COMPLETED"), r"\(got COMPLETED\): it ended"),
        (State("UNKNOWN"), r"\(got UNKNOWN\): Slurm no longer remembers how it ended"),
    ],
)
def test_an_unfinished_job_is_reported_with_its_state_and_log(job_states, run_dir, heard, state, match):
    complete(run_dir, "train")
    job_states(RUNNING, state)
    with pytest.raises(StageError, match=f"Slurm job 12 {'' if match.startswith('ended') else '.*'}{match}") as caught:
        follow(JOB, run_dir, STAGES, heard)
    assert caught.value.log == str(run_dir / "logs" / "slurm-12.log")
    assert "share" not in str(caught.value)


def test_a_job_that_saved_but_cannot_requeue_itself_has_stopped(job_states, run_dir, heard):
    job_states(RUNNING, State("FAILED", "", "76:0"))
    match = r"does not let it requeue itself \(got FAILED, exit code 76:0\); the same command submits it again"
    with pytest.raises(StageStopped, match=match):
        follow(JOB, run_dir, STAGES, heard)


def test_a_job_without_a_log_suggests_a_missing_shared_file_system(job_states, run_dir, heard):
    (run_dir / "logs" / "slurm-12.log").unlink()
    job_states(State("FAILED", "", "1:0"))
    with pytest.raises(StageError, match=r"it left no log: is .*run on a file system that the nodes share\?"):
        follow(JOB, run_dir, STAGES, heard)


def test_the_error_of_a_process_outranks_the_state_of_the_job(job_states, run_dir, heard):
    def fail():
        Events(run_dir, "train", 1).error("RuntimeError: connection closed by peer", expected=False)
        Events(run_dir, "train", 0).error("no training pair is left", expected=True)
        (run_dir / "logs" / "train.rank0.log").touch()
        return State("FAILED", "NonZeroExitCode", "1:0")

    job_states(RUNNING, fail)
    match = r"the train stage failed in Slurm job 12 \(FAILED, exit code 1:0\): no training pair is left"
    with pytest.raises(StageError, match=match) as caught:
        follow(JOB, run_dir, STAGES, heard)
    assert caught.value.log == str(run_dir / "logs" / "train.rank0.log")


def test_errors_before_a_requeue_are_not_the_cause(job_states, run_dir, heard):
    def fail():
        Events(run_dir, "train", 0).error("RuntimeError: of the node that failed", expected=False)
        Events(run_dir, "train", 0).started()
        return State("FAILED", "", "1:0")

    job_states(fail)
    with pytest.raises(StageError, match="its script failed"):
        follow(JOB, run_dir, STAGES, heard)


def test_an_interrupt_leaves_the_job_running_and_says_so(job_states, run_dir, heard):
    def interrupt():
        raise KeyboardInterrupt

    job_states(RUNNING, interrupt)
    with pytest.raises(KeyboardInterrupt):
        follow(JOB, run_dir, STAGES, heard)
    assert texts(heard)[-1].startswith("job 12 continues; `scancel 12` ends it")


def taken_up(run_dir, listener, launcher="slurm", fresh=False, detach=False):
    return take_up(run_dir, STAGES, listener, launcher=launcher, fresh=fresh, detach=detach)


@pytest.fixture
def left_job(run_dir):
    write_json(run_dir / "job.json", {"id": "12", "events_from": 0})
    return run_dir


def test_a_directory_without_a_job_needs_no_handling(run_dir, heard):
    assert taken_up(run_dir, heard)
    assert taken_up(run_dir, heard, launcher="local")


def test_the_state_of_a_complete_job_is_not_queried(left_job, heard, monkeypatch):
    complete(left_job)
    monkeypatch.setattr(slurm, "state_of", None)
    assert taken_up(left_job, heard)
    assert taken_up(left_job, heard, launcher="local")


def test_an_active_job_is_followed(job_states, left_job, heard):
    def end():
        complete(left_job)
        return DONE

    job_states(RUNNING, RUNNING, end)
    assert taken_up(left_job, heard)
    assert texts(heard) == ["job 12: running"]
    job_states(RUNNING, State("CANCELLED"))
    (left_job / "predictions.jsonl").unlink()
    with pytest.raises(StageError, match=r"got CANCELLED"):
        taken_up(left_job, heard)


def test_a_detached_command_does_not_follow_an_active_job(job_states, left_job, heard):
    job_states(State("PENDING"))
    assert not taken_up(left_job, heard, detach=True)
    assert texts(heard) == ["job 12: pending; the same command without --detach follows it"]


def test_the_cause_of_a_failed_job_is_a_warning_before_the_next_one(job_states, left_job, heard):
    Events(left_job, "train", 0).error("no training pair is left", expected=True)
    job_states(State("FAILED", "", "1:0"))
    assert taken_up(left_job, heard)
    assert texts(heard, "warning") == [
        "the train stage failed in Slurm job 12 (FAILED, exit code 1:0): no training pair is left"
    ]
    heard.events.clear()
    assert taken_up(left_job, heard, fresh=True)
    assert heard.events == []


def test_an_incomplete_job_that_slurm_has_forgotten_is_a_warning(job_states, left_job, heard):
    job_states(State("UNKNOWN"))
    assert taken_up(left_job, heard)
    (warning,) = texts(heard, "warning")
    assert "(got UNKNOWN): Slurm no longer remembers how it ended; " in warning
    Events(left_job, "train", 0).error("no training pair is left", expected=True)
    assert taken_up(left_job, heard)
    assert texts(heard, "warning")[1:] == ["the train stage failed in Slurm job 12 (UNKNOWN): no training pair is left"]


def test_a_job_that_completes_before_its_state_is_queried_is_not_a_failure(job_states, left_job, heard):
    def end():
        complete(left_job)
        return DONE

    job_states(end)
    assert taken_up(left_job, heard)
    assert heard.events == []


def test_files_of_an_ended_job_are_waited_for(job_states, left_job, heard, monkeypatch):
    looks = []
    monkeypatch.setattr(slurm, "is_complete", lambda *_: looks.append(1) or len(looks) > 6)
    monkeypatch.setattr(slurm, "_VISIBLE_SECONDS", 20.0)
    job_states(DONE)
    assert taken_up(left_job, heard)
    assert [event["text"] for event in heard.events] == ["job 12: completed; waiting up to 20 s for its files"]


def test_files_that_never_become_visible_are_a_warning(job_states, left_job, heard):
    job_states(DONE)
    assert taken_up(left_job, heard)
    (warning,) = texts(heard, "warning")
    assert warning.startswith("Slurm job 12 ended before its stages were complete (got COMPLETED): it ended")


@pytest.mark.parametrize("asked", [{"fresh": True}, {"launcher": "local"}])
def test_fresh_and_local_runs_are_refused_while_a_job_is_active(job_states, left_job, heard, asked, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    job_states(RUNNING)
    with pytest.raises(
        RunDirectoryError, match=r"job 12 is active in this directory \(got RUNNING for .*\); `scancel 12`"
    ):
        taken_up(left_job, heard, **asked)
    complete(left_job)
    if "fresh" in asked:
        with pytest.raises(RunDirectoryError, match="job 12 is active"):
            taken_up(left_job, heard, **asked)


def test_a_local_run_is_refused_where_the_state_of_a_job_cannot_be_queried(left_job, heard, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    match = r"may be active \(got job 12 in .*job.json, and no scontrol on this machine\); delete that file"
    with pytest.raises(RunDirectoryError, match=match):
        taken_up(left_job, heard, launcher="local")


def test_a_failure_reads_the_cause_from_the_events_file(run_dir):
    Events(run_dir, "predict", 3).error("ValueError: odd", expected=False)
    error = failure(JOB, run_dir, State("UNKNOWN"))
    assert str(error) == "the predict stage failed in Slurm job 12 (UNKNOWN): ValueError: odd"
    assert error.log == str(run_dir / "logs" / "slurm-12.log"), "there is no log of that rank"
