"""The time of a whole run is a sum of products, each of a number of the whole plan and a measured time."""

import pytest
from faked_stages import STAGES
from made_up_recipes import begun_plan

from summtune.base.errors import StageError
from summtune.base.files import read_json, write_json, write_jsonl
from summtune.commands.smoke_forecast import WholeRun, forecast
from summtune.plan.checking import check
from summtune.plan.draft import begin
from summtune.plan.models import model_of
from summtune.plan.preparation import prepare_data
from summtune.plan.resolve import drafted, resolve
from summtune.plan.smoke import short_data, smoked
from summtune.runs.events import Events


@pytest.fixture
def forecast_of(project, monkeypatch):
    """Forecast a run of one of the project's recipes from a smoke run that took these seconds."""
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)
    run_dir = project / "run"
    (run_dir / "logs").mkdir(parents=True)

    def make(name, *sets, steps=(), took=(), dialogues=2, resumed=1):
        plan = begun_plan(project / name, sets, project / "whole")
        longest = short_data(plan, project / "whole", project / "short", dialogues)
        draft = drafted(smoked(check(project / name, sets), project / "short"), run_dir)
        model = model_of(draft.recipe, draft.model_folder, None, draft.content_sha256)
        short = begin(draft, model, prepare_data(draft.recipe, run_dir, print))
        write_json(run_dir / "plan.json", short.to_json())
        for stage, write in STAGES.items():
            if stage == "predict" or steps:
                write(run_dir)
        if steps:
            pairs = short.batch.global_batch
            rows = [
                {"step": at, "epoch": 1.0, "loss": 2.0, "samples_per_second": pairs / s} for at, s in enumerate(steps)
            ]
            write_jsonl(run_dir / "train_log.jsonl", rows)
            path = run_dir / "training.json"
            write_json(path, read_json(path) | {"resumed_from_step": resumed})
        for what, seconds in took:
            Events(run_dir, "train", 0).took(what, seconds)
        whole = WholeRun("whole", resolve(project / name, sets), plan, longest and longest.ratio)
        return forecast(whole, run_dir)

    return make


def terms_of(made):
    return {term.text: pytest.approx(term.seconds) for term in made.terms}


TOOK = (("checkpoint", 1.0), ("checkpoint", 3.0), ("evaluation", 4.0), ("evaluation", 2.0), ("generation", 5.0))


def test_an_epoch_ends_with_an_evaluation_and_a_checkpoint(forecast_of):
    # Ten of the twelve pairs are trained on: 5 steps an epoch, two of them evaluated.
    made = forecast_of(
        "train.yaml", "val_set_size=2", "micro_batch_size=2", "num_epochs=2.5", steps=(7.0, 2.0), took=TOOK
    )
    assert terms_of(made) == {
        "13 steps × 2 s": 26.0,
        "3 evaluations × 2 pairs × 1 s": 6.0,
        "3 checkpoints × 3 s": 9.0,
        "6 dialogues × 2.5 s": 15.0,
    }
    assert made.seconds == pytest.approx(56.0)
    assert made.measured == pytest.approx(7 + 2 + 1 + 3 + 4 + 2 + 5)
    assert (made.training.step, made.training.pairs) == (2.0, 2)


@pytest.mark.parametrize(
    ("sets", "times"),
    [
        (("val_set_size=2", "eval_steps=4"), ("3 evaluations", "4 checkpoints")),
        (("val_set_size=2", "eval_steps=2", "save_steps=4"), ("6 evaluations", "7 checkpoints")),
        (("save_steps=5",), (None, "3 checkpoints")),
    ],
)
def test_steps_between_evaluations_and_checkpoints_count(forecast_of, sets, times):
    made = forecast_of("train.yaml", *sets, "max_steps=13", "micro_batch_size=2", steps=(2.0, 2.0), took=TOOK)
    texts = [term.text.split(" × ")[0] for term in made.terms]
    assert texts == ["13 steps", *filter(None, times), "6 dialogues"]


def test_a_prompted_model_only_generates(forecast_of):
    made = forecast_of("prompt.yaml", took=[("generation", 1.0)])
    assert terms_of(made) == {"6 dialogues × 0.5 s": 3.0}
    assert made.training is None


def test_a_training_that_started_from_scratch_again_is_refused(forecast_of):
    with pytest.raises(
        StageError, match=r"did not resume from its checkpoint after step 1 \(got None\); see"
    ) as caught:
        forecast_of("train.yaml", steps=(2.0, 2.0), took=TOOK, resumed=None)
    assert caught.value.log.endswith("logs/train.rank0.log")
