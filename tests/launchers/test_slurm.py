"""A job is submitted, remembered, followed and found again; what became of it is said."""

import pytest

from summtune.base.errors import InputError, RunDirectoryError, StageError
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
def goes(monkeypatch):
    """Let a job go through states; one that can be called is done when its turn comes."""
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
    """A listener that remembers what it is told."""
    told = []

    def listener(event):
        told.append(event)

    listener.told = told
    return listener


def texts(listener, kind="message"):
    return [event["text"] for event in listener.told if event["event"] == kind]


def complete(run_dir, *stages):
    files = {"train": "train_log.jsonl", "predict": "predictions.jsonl"}
    for stage in stages or STAGES:
        (run_dir / files[stage]).write_text("{}\n")
        mark_complete(run_dir, stage)


@pytest.mark.parametrize(
    "found", [{"id": "--help", "events_from": 0}, {"id": 12, "events_from": 0}, {"id": "12", "events_from": -1}, [], 7]
)
def test_a_job_that_nobody_submitted_is_refused(tmp_path, found):
    write_json(tmp_path / "job.json", found)
    with pytest.raises(InputError, match="names the Slurm job cannot be read"):
        job_of(tmp_path)


def test_a_job_is_submitted_and_remembered(commands, slurm_plan, run_dir):
    (run_dir / "logs" / "events.jsonl").write_text("{}\n")
    commands(sbatch="echo 12")
    assert submit(slurm_plan(), run_dir) == Job("12", 3) == job_of(run_dir)
    assert (run_dir / "job.sbatch").read_text().startswith("#!/bin/bash")
    # The script looks for these very characters.
    assert '"id": "12"' in (run_dir / "job.json").read_text()


def test_a_job_that_is_refused_is_not_remembered(commands, slurm_plan, run_dir):
    commands(sbatch="echo no >&2; exit 1")
    with pytest.raises(InputError, match=r"sbatch does not take the job \(got 'no' for "):
        submit(slurm_plan(), run_dir)
    assert job_of(run_dir) is None


def test_a_file_that_should_name_a_job_and_does_not_is_told(run_dir):
    (run_dir / "job.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"names the Slurm job cannot be read \(got .*job.json: 'id'\); look with squeue"
    ):
        job_of(run_dir)


def test_following_passes_on_what_the_processes_say_and_how_the_job_stands(goes, run_dir, heard):
    def speak():
        Events(run_dir, "train", 0).progress(1, 4)
        complete(run_dir)
        return DONE

    goes(State("PENDING", "Resources"), State("PENDING", "Resources"), RUNNING, speak)
    follow(JOB, run_dir, STAGES, heard)
    assert texts(heard) == ["job 12: pending (Resources)", "job 12: running"]
    assert [event["done"] for event in heard.told if event["event"] == "progress"] == [1]


def test_what_was_said_before_the_job_is_not_repeated(goes, run_dir, heard):
    Events(run_dir, "train", 0).say("of another job")
    start = (run_dir / "logs" / "events.jsonl").stat().st_size
    Events(run_dir, "train", 0).say("while nobody looked")
    complete(run_dir)
    goes(DONE)
    follow(Job("12", start), run_dir, STAGES, heard)
    assert texts(heard) == ["while nobody looked"]


def test_a_controller_that_is_away_for_a_while_is_waited_for(goes, run_dir, heard):
    def away():
        raise StageError("Slurm does not tell the state of job 12")

    complete(run_dir)
    goes(RUNNING, away, away, RUNNING, DONE)
    follow(JOB, run_dir, STAGES, heard)
    assert texts(heard, "warning") == ["Slurm does not tell the state of job 12; still trying"]


def test_outputs_may_become_visible_later(goes, run_dir, heard, monkeypatch):
    looks = []
    monkeypatch.setattr(slurm, "is_complete", lambda *_: looks.append(1) or len(looks) > 6)
    monkeypatch.setattr(slurm, "_VISIBLE_SECONDS", 20.0)
    goes(DONE)
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
        (State("NODE_FAIL"), r"\(got NODE_FAIL\): a node failed; the same command goes on from the last checkpoint"),
        (State("CANCELLED"), r"\(got CANCELLED\): it was cancelled; the same command goes on"),
        (State("PREEMPTED"), r"\(got PREEMPTED\): another job took its place"),
        (State("FAILED", "NonZeroExitCode", "3:0"), r"\(got FAILED, exit code 3:0\): its script failed"),
        (
            State("FAILED", "", "75:0"),
            r"\(got FAILED, exit code 75:0\): it was told to stop \(time limit or preemption\)",
        ),
        (State("COMPLETED"), r"\(got COMPLETED\): it ended"),
        (State("UNKNOWN"), r"\(got UNKNOWN\): Slurm no longer remembers how it ended"),
    ],
)
def test_a_job_that_did_not_finish_is_told_with_its_state_and_log(goes, run_dir, heard, state, match):
    complete(run_dir, "train")
    goes(RUNNING, state)
    with pytest.raises(StageError, match=f"Slurm job 12 {'' if match.startswith('ended') else '.*'}{match}") as caught:
        follow(JOB, run_dir, STAGES, heard)
    assert caught.value.log == str(run_dir / "logs" / "slurm-12.log")
    assert "share" not in str(caught.value)


def test_a_job_that_left_no_log_may_not_see_the_directory(goes, run_dir, heard):
    (run_dir / "logs" / "slurm-12.log").unlink()
    goes(State("FAILED", "", "1:0"))
    with pytest.raises(StageError, match=r"it left no log: is .*run on a file system that the nodes share\?"):
        follow(JOB, run_dir, STAGES, heard)


def test_the_cause_that_a_process_gave_comes_before_the_state(goes, run_dir, heard):
    def fail():
        Events(run_dir, "train", 1).error("RuntimeError: connection closed by peer", expected=False)
        Events(run_dir, "train", 0).error("no training pair is left", expected=True)
        (run_dir / "logs" / "train.rank0.log").touch()
        return State("FAILED", "NonZeroExitCode", "1:0")

    goes(RUNNING, fail)
    match = r"the train stage failed in Slurm job 12 \(FAILED, exit code 1:0\): no training pair is left"
    with pytest.raises(StageError, match=match) as caught:
        follow(JOB, run_dir, STAGES, heard)
    assert caught.value.log == str(run_dir / "logs" / "train.rank0.log")


def test_errors_before_a_requeue_are_not_the_cause(goes, run_dir, heard):
    def fail():
        Events(run_dir, "train", 0).error("RuntimeError: of the node that failed", expected=False)
        Events(run_dir, "train", 0).started()
        return State("FAILED", "", "1:0")

    goes(fail)
    with pytest.raises(StageError, match="its script failed"):
        follow(JOB, run_dir, STAGES, heard)


def test_an_interrupt_leaves_the_job_running_and_says_so(goes, run_dir, heard):
    def interrupt():
        raise KeyboardInterrupt

    goes(RUNNING, interrupt)
    with pytest.raises(KeyboardInterrupt):
        follow(JOB, run_dir, STAGES, heard)
    assert texts(heard)[-1] == "job 12 goes on; `scancel 12` ends it, the same command follows it again"


def taken_up(run_dir, listener, launcher="slurm", fresh=False, detach=False):
    return take_up(run_dir, STAGES, listener, launcher=launcher, fresh=fresh, detach=detach)


@pytest.fixture
def left_job(run_dir):
    write_json(run_dir / "job.json", {"id": "12", "events_from": 0})
    return run_dir


def test_a_directory_without_a_job_is_free(run_dir, heard):
    assert taken_up(run_dir, heard)
    assert taken_up(run_dir, heard, launcher="local")


def test_a_job_whose_stages_are_complete_is_not_asked_after(left_job, heard, monkeypatch):
    complete(left_job)
    monkeypatch.setattr(slurm, "state_of", None)
    assert taken_up(left_job, heard)
    assert taken_up(left_job, heard, launcher="local")


def test_a_job_that_is_at_work_is_followed(goes, left_job, heard):
    def end():
        complete(left_job)
        return DONE

    goes(RUNNING, RUNNING, end)
    assert taken_up(left_job, heard)
    assert texts(heard) == ["job 12: running"]
    goes(RUNNING, State("CANCELLED"))
    (left_job / "predictions.jsonl").unlink()
    with pytest.raises(StageError, match=r"got CANCELLED"):
        taken_up(left_job, heard)


def test_a_detached_command_does_not_follow(goes, left_job, heard):
    goes(State("PENDING"))
    assert not taken_up(left_job, heard, detach=True)
    assert texts(heard) == ["job 12: pending; the same command without --detach follows it"]


def test_why_a_job_failed_is_told_before_the_next_one(goes, left_job, heard):
    Events(left_job, "train", 0).error("no training pair is left", expected=True)
    goes(State("FAILED", "", "1:0"))
    assert taken_up(left_job, heard)
    assert texts(heard, "warning") == [
        "the train stage failed in Slurm job 12 (FAILED, exit code 1:0): no training pair is left"
    ]
    heard.told.clear()
    assert taken_up(left_job, heard, fresh=True)
    assert heard.told == []


def test_a_job_that_slurm_has_forgotten_is_told_too(goes, left_job, heard):
    goes(State("UNKNOWN"))
    assert taken_up(left_job, heard)
    (said,) = texts(heard, "warning")
    assert said.startswith(
        "Slurm job 12 ended before its stages were complete (got UNKNOWN): Slurm no longer remembers how it ended; "
    )
    Events(left_job, "train", 0).error("no training pair is left", expected=True)
    assert taken_up(left_job, heard)
    assert texts(heard, "warning")[1:] == ["the train stage failed in Slurm job 12 (UNKNOWN): no training pair is left"]


def test_a_job_that_ends_between_the_two_looks_is_no_failure(goes, left_job, heard):
    def end():
        complete(left_job)
        return DONE

    goes(end)
    assert taken_up(left_job, heard)
    assert heard.told == []


def test_files_of_an_ended_job_may_become_visible_later(goes, left_job, heard, monkeypatch):
    looks = []
    monkeypatch.setattr(slurm, "is_complete", lambda *_: looks.append(1) or len(looks) > 6)
    monkeypatch.setattr(slurm, "_VISIBLE_SECONDS", 20.0)
    goes(DONE)
    assert taken_up(left_job, heard)
    assert [event["text"] for event in heard.told] == ["job 12: completed; waiting up to 20 s for its files"]


def test_files_that_never_come_are_told(goes, left_job, heard):
    goes(DONE)
    assert taken_up(left_job, heard)
    (said,) = texts(heard, "warning")
    assert said.startswith("Slurm job 12 ended before its stages were complete (got COMPLETED): it ended")


@pytest.mark.parametrize("asked", [{"fresh": True}, {"launcher": "local"}])
def test_nothing_else_is_done_where_a_job_is_at_work(goes, left_job, heard, asked, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    goes(RUNNING)
    with pytest.raises(
        RunDirectoryError, match=r"job 12 is at work in this directory \(got RUNNING for .*\); `scancel 12`"
    ):
        taken_up(left_job, heard, **asked)
    complete(left_job)
    if "fresh" in asked:
        with pytest.raises(RunDirectoryError, match="job 12 is at work"):
            taken_up(left_job, heard, **asked)


def test_where_nobody_can_ask_after_the_job_nothing_is_done(left_job, heard, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    match = r"may be at work \(got job 12 in .*job.json, and no scontrol on this machine\); delete that file"
    with pytest.raises(RunDirectoryError, match=match):
        taken_up(left_job, heard, launcher="local")


def test_a_failure_is_looked_up_by_those_who_did_not_listen(run_dir):
    Events(run_dir, "predict", 3).error("ValueError: odd", expected=False)
    error = failure(JOB, run_dir, State("UNKNOWN"))
    assert str(error) == "the predict stage failed in Slurm job 12 (UNKNOWN): ValueError: odd"
    assert error.log == str(run_dir / "logs" / "slurm-12.log"), "there is no log of that rank"
