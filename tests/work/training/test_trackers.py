"""What W&B, TensorBoard and MLflow have been given is read back from their files."""

import pytest
from trained_runs import go_on

from summtune.base.errors import StageError
from summtune.work.training import trackers

KEYS = {"train": 18, "val_set_size": 5, "eval_steps": 2, "max_steps": 4, "num_epochs": None}
NAMES = {
    "train/loss": "loss",
    "train/grad_norm": "grad_norm",
    "train/learning_rate": "learning_rate",
    "train/epoch": "epoch",
    "train/samples_per_second": "samples_per_second",
    "train/tokens_per_second": "tokens_per_second",
}


def steps_of(run):
    return {row["step"]: row for row in run.log if "loss" in row}


def evaluations_of(run):
    return {row["step"]: row["eval_loss"] for row in run.log if "eval_loss" in row}


@pytest.fixture
def read_wandb():
    pytest.importorskip("wandb", reason="W&B is not installed")
    wandb_file = pytest.importorskip("wandb_file")

    def read(run):
        """Return the rows of all sessions by step, the configuration, and what describes the run."""
        found = sorted((run.folder / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))
        rows, config, described = [], {}, []
        for path in found:
            of_file, of_run, description = wandb_file.logged(path)
            rows += of_file
            config |= of_run
            described.append((path.name, description))
        return rows, config, described

    return read


def test_wandb_offline_gets_steps_evaluations_and_the_recipe(trained, read_wandb):
    run = trained(wandb_project="dialogues", wandb_name="first", wandb_mode="offline", **KEYS)
    rows, config, ((_, described),) = read_wandb(run)
    logged = {row["_step"]: row for row in rows}
    for step, row in steps_of(run).items():
        assert {name: logged[step][name] for name in NAMES} == pytest.approx(
            {name: row[of] for name, of in NAMES.items()}
        )
    assert {step: row["eval/loss"] for step, row in logged.items() if "eval/loss" in row} == evaluations_of(run)
    assert (described["project"], described["name"]) == ("dialogues", "first")
    assert (config["learning_rate"], config["max_steps"]) == (0.01, 4)


def test_wandb_continues_its_run_after_a_resume(killed_after, read_wandb):
    run = go_on(killed_after(2, wandb_project="dialogues", wandb_mode="offline", max_steps=4, num_epochs=None))
    rows, _, described = read_wandb(run)
    assert len({name for name, _ in described}) == 1  # the same id in both sessions
    assert {row["_step"] for row in rows} >= {3, 4}


def scalars(run):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed"
    )
    found = accumulator.EventAccumulator(str(run.folder / "logs" / "tensorboard"))
    found.Reload()
    return {tag: {each.step: each.value for each in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


def test_tensorboard_gets_steps_and_evaluations(trained):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    run = trained(use_tensorboard=True, **KEYS)
    found = scalars(run)
    for name in set(NAMES) - {"train/epoch"}:
        assert found[name] == pytest.approx({step: row[NAMES[name]] for step, row in steps_of(run).items()})
    assert found["eval/loss"] == pytest.approx(evaluations_of(run))


def test_tensorboard_shows_the_steps_of_a_resumed_training_once(killed_after):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    run = go_on(killed_after(2, use_tensorboard=True, max_steps=4, num_epochs=None))
    assert list(scalars(run)["train/loss"]) == [1, 2, 3, 4]


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "MLFLOW_ALLOW_FILE_STORE",
        "MLFLOW_DISABLE_TELEMETRY",
    ):
        monkeypatch.setenv(name, "")  # so that what a training sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")  # the recipe outranks it
    yield mlflow
    mlflow.end_run()


def runs_of(mlflow, folder, experiment):
    client = mlflow.MlflowClient(tracking_uri=str(folder))
    (found,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    history = {
        name: {each.step: each.value for each in client.get_metric_history(found.info.run_id, name)}
        for name in found.data.metrics
    }
    return found, history


def test_mlflow_in_a_folder_gets_steps_evaluations_and_the_recipe(trained, mlflow, tmp_path):
    folder = tmp_path / "mlruns"
    run = trained(mlflow_tracking_uri=str(folder), mlflow_experiment_name="dialogues", **KEYS)
    found, history = runs_of(mlflow, folder, "dialogues")
    assert history["train/loss"] == {step: row["loss"] for step, row in steps_of(run).items()}
    assert history["eval/loss"] == evaluations_of(run)
    assert found.data.params["learning_rate"] == "0.01"
    assert found.info.status == "FINISHED"


def test_mlflow_continues_its_run_after_a_resume(killed_after, mlflow, tmp_path):
    folder = tmp_path / "mlruns"
    run = killed_after(
        2, mlflow_tracking_uri=str(folder), mlflow_experiment_name="dialogues", max_steps=4, num_epochs=None
    )
    mlflow.end_run()  # as the end of the killed process would
    go_on(run)
    _, history = runs_of(mlflow, folder, "dialogues")
    assert list(history["train/loss"]) == [1, 2, 3, 4]


def test_a_tracker_that_is_not_installed_is_an_error(prepare, monkeypatch):
    plan = prepare().plan
    asked = plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"use_tensorboard": True})})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StageError, match=r"reports to tensorboard, which is not installed; pip install tensorboard"):
        list(trackers._asked(asked))
