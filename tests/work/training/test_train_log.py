from summtune.base.files import read_jsonl
from summtune.runs.statistics import TrainLogRow
from summtune.work.training.train_log import TrainLog


def row(step, **losses):
    return TrainLogRow(step=step, epoch=0.5, **losses)


def steps(log):
    return [row["step"] for row in read_jsonl(log.path)]


def test_rows_are_appended_one_per_line(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    for step in (1, 2):
        log.append(row(step, loss=1.5))
    assert log.path.read_text() == ('{"step": 1, "epoch": 0.5, "loss": 1.5}\n{"step": 2, "epoch": 0.5, "loss": 1.5}\n')


def test_rewinding_drops_the_rows_that_are_trained_again(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    for step in (1, 2, 3, 4):
        log.append(row(step))
    log.rewind(2)
    assert steps(log) == [1, 2]
    log.append(row(3))
    assert steps(log) == [1, 2, 3]


def test_rewinding_drops_a_truncated_line(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.append(row(1))
    with log.path.open("a") as file:
        file.write('{"step": 2, "lo')
    log.rewind(5)
    assert steps(log) == [1]


def test_rewinding_to_the_start_empties_or_creates_the_log(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.rewind(0)
    assert log.path.read_text() == ""
    log.append(row(1))
    log.rewind(0)
    assert log.path.read_text() == ""


def test_the_mean_loss_is_over_all_logged_rows(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.rewind(0)
    assert log.mean_loss() is None
    for each in (row(1, loss=3.0), row(1, eval_loss=9.0), row(2, loss=1.0)):
        log.append(each)
    assert log.mean_loss() == 2.0


def test_a_log_that_another_run_shares_is_not_written(tmp_path):
    log = TrainLog(tmp_path / "train_log.jsonl")
    log.append(row(1))
    shared = tmp_path / "of another run"
    shared.hardlink_to(log.path)
    log.rewind(0)
    log.append(row(2))
    assert [each["step"] for each in read_jsonl(shared)] == [1]
