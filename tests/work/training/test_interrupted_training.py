"""Trainings that are killed, asked to stop, or cannot save leave whole checkpoints and resume to the same end."""

import resource

import pytest
from families import both_families
from safetensors.torch import load_file
from tiny_decoders import write_decoder
from tiny_inputs import write_checkpoint
from trained_runs import Killed, before_each_step, eval_rows, go_on, same_weights, weights

from summtune.base.errors import StageError
from summtune.machine.stored_tensors import stored_tensors
from summtune.runs import checkpoints
from summtune.work.models.saved_model import ModelWriter
from summtune.work.process.stopping import Stopped, StopRequest
from summtune.work.training.loop import train
from summtune.work.training.loss import TokenLoss

# Deprecated names of transformers 5: peft uses one, and 5.20 has no other name for the argument
NAN = float("nan")

pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")


def test_save_total_limit_bounds_the_checkpoints(killed_after):
    run = killed_after(7, save_total_limit=3, max_steps=8, num_epochs=None)
    kept = checkpoints.checkpoints(run.folder / "checkpoints")
    assert [checkpoints.step_of(path) for path in kept] == [7, 6, 5]


def test_the_best_checkpoint_is_kept_in_addition(killed_after):
    keys = {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": None, "lr_scheduler": "constant"}
    run = killed_after(2, save_total_limit=1, max_steps=12, learning_rate=5.0, **keys)
    evaluated = eval_rows(run)
    best = min(evaluated, key=evaluated.get)
    kept = {checkpoints.step_of(path) for path in checkpoints.checkpoints(run.folder / "checkpoints")}
    assert (best, kept) == (1, {1, 2})


@both_families
def test_checkpoints_hold_each_weight_once_and_no_pickle(killed_after, checkpoint):
    run = killed_after(1)
    folder = run.folder / "checkpoints" / "checkpoint-1"
    assert load_file(folder / "weights-00000.safetensors").keys() == stored_tensors(checkpoint).keys()
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


@both_families
def test_the_checkpoint_of_an_adapter_does_not_hold_its_base(killed_after):
    run = killed_after(1, adapter="lora", lora_r=4)
    stored = load_file(run.folder / "checkpoints" / "checkpoint-1" / "weights-00000.safetensors")
    assert stored
    assert all("lora_" in name for name in stored)


@both_families
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"adapter": "lora", "lora_r": 4},
        {"adapter": "ia3"},
        {"adapter": "lora", "lora_r": 4, "peft_init_lora_weights": "pissa_niter_2", "loraplus_lr_ratio": 4},
        {"adapter": "prompt_tuning", "num_virtual_tokens": 4},
    ],
    ids=["full", "lora", "ia3", "pissa", "prompt_tuning"],
)
def test_a_killed_training_resumes_to_the_same_end(trained, killed_after, keys):
    keys |= {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": 3}
    whole = trained(name="whole", save_steps=1, **keys)
    run = go_on(killed_after(3, **keys))
    assert run.training["resumed_from_step"] == 3
    assert "resuming from checkpoint-3" in run.texts("message")
    assert [(row["step"], row.get("loss"), row.get("eval_loss")) for row in run.log] == [
        (row["step"], row.get("loss"), row.get("eval_loss")) for row in whole.log
    ]
    name = "adapter_model.safetensors" if "adapter" in keys else "model.safetensors"
    assert same_weights(load_file(run.folder / "model" / name), load_file(whole.folder / "model" / name))


@pytest.mark.parametrize(
    ("write", "dropout"), [(write_checkpoint, "dropout_rate"), (write_decoder, "attention_dropout")]
)
def test_dropout_is_the_same_after_a_resume(prepare, trained, killed_after, tmp_path, write, dropout):
    base = str(write(tmp_path / "dropping", **{dropout: 0.3}))
    whole = trained(name="whole", base_model=base, save_steps=1)
    assert go_on(killed_after(3, base_model=base)).losses == whole.losses


def damage_manifest(folder):
    (folder / "manifest.json").unlink()


def damage_weights(folder):
    path = folder / "weights-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def damage_state(folder):
    path = folder / "optimizer-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_listing(folder):
    (folder / "state.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_manifest, "it is incomplete: it has no manifest"),
        (damage_weights, "bytes instead of"),
        (damage_state, "optimizer-00000.safetensors was altered"),
        (damage_listing, "state.json is missing"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(uninterrupted, killed_after, damage, reason):
    run = killed_after(3)
    damage(run.folder / "checkpoints" / "checkpoint-3")
    go_on(run)
    (warning,) = run.texts("warning")
    assert warning.startswith("checkpoint-3 is skipped: ")
    assert reason in warning
    assert run.training["resumed_from_step"] == 2
    assert run.losses == uninterrupted.losses
    assert same_weights(weights(run), weights(uninterrupted))


def test_training_starts_from_scratch_without_a_whole_checkpoint(uninterrupted, killed_after):
    run = killed_after(2)
    for folder in (run.folder / "checkpoints").iterdir():
        damage_manifest(folder)
    go_on(run)
    assert len(run.texts("warning")) == 2
    assert run.training["resumed_from_step"] is None
    assert run.losses == uninterrupted.losses


@both_families
def test_resuming_with_smaller_micro_batches_gives_the_same_losses(prepare, killed_after, uninterrupted):
    killed_after(2)
    run = go_on(prepare(name="killed", save_steps=1, micro_batch_size=2, gradient_accumulation_steps=4))
    assert run.training["resumed_from_step"] == 2
    assert run.losses == pytest.approx(uninterrupted.losses, rel=1e-4)


def test_patience_continues_to_count_after_a_kill(trained, killed_after):
    keys = {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": None, "lr_scheduler": "constant"}
    keys |= {"max_steps": 12, "learning_rate": 5.0, "early_stopping_patience": 3}
    whole = trained(name="whole", save_steps=1, **keys)
    assert whole.training["steps"] < 12
    assert go_on(killed_after(2, **keys)).training["steps"] == whole.training["steps"]


@pytest.fixture
def stopped_at(prepare):
    """Train a recipe and ask it to stop during a step; return its run and the message of the stop."""

    def start(step, name="stopped", **keys):
        run, stop = prepare(name=name, **({"save_steps": 100, "save_total_limit": 10} | keys)), StopRequest()

        def ask(done):
            stop.asked = stop.asked or done == step - 1

        with before_each_step(ask):
            try:
                train(run.plan, run.folder, run.events(), stop)
                said = None
            except Stopped as stopped:
                said = str(stopped)
        return run, said

    return start


@both_families
def test_a_training_asked_to_stop_writes_a_checkpoint_and_resumes_from_it(stopped_at, uninterrupted):
    run, said = stopped_at(3)
    assert said == "checkpoint-3 is written; the processes end as asked"
    assert [path.name for path in checkpoints.checkpoints(run.folder / "checkpoints")] == ["checkpoint-3"]
    assert not (run.folder / "model").exists()
    go_on(run)
    assert run.training["resumed_from_step"] == 3
    assert run.losses == uninterrupted.losses
    assert same_weights(weights(run), weights(uninterrupted))


def test_a_training_with_a_planned_pause_stops_there_once(prepare, uninterrupted):
    run = prepare(name="paused")
    run.plan = run.plan.model_copy(update={"pause_after": 1})
    with pytest.raises(Stopped, match="checkpoint-1 is written"):
        train(run.plan, run.folder, run.events(), StopRequest())
    go_on(run)
    assert run.training["resumed_from_step"] == 1
    assert run.losses == uninterrupted.losses
    assert same_weights(weights(run), weights(uninterrupted))


@pytest.mark.parametrize("keys", [{"save_steps": None}, {"eval_steps": 2, "save_steps": 2}], ids=["epoch", "steps"])
def test_an_evaluation_that_is_due_is_not_missed_by_stopping(stopped_at, trained, keys):
    keys |= {"train": 18, "val_set_size": 5}
    whole = trained(name="whole", **keys)
    run, said = stopped_at(2, **keys)  # the last step of the first epoch
    assert said.startswith("checkpoint-2 ")
    assert list(eval_rows(run)) == [2]
    go_on(run)
    assert eval_rows(run) == eval_rows(whole)
    assert run.losses == whole.losses
    assert same_weights(weights(run), weights(whole))


def test_a_stop_at_the_last_step_saves_the_model_instead(stopped_at, uninterrupted):
    run, said = stopped_at(4)
    assert said is None
    assert same_weights(weights(run), weights(uninterrupted))


def test_a_run_that_ended_between_its_last_checkpoint_and_its_model_trains_no_further_step(
    prepare, trained, monkeypatch
):
    keys = {"max_steps": 3, "num_epochs": None, "save_steps": 1}  # in the middle of an epoch of two steps
    whole = trained(name="whole", **keys)
    run = prepare(name="killed", **keys)
    with monkeypatch.context() as patch:
        patch.setattr(ModelWriter, "save", raise_killed)
        with pytest.raises(Killed):
            train(run.plan, run.folder, run.events(), StopRequest())
    go_on(run)
    assert (run.training["resumed_from_step"], run.training["steps"]) == (3, 3)
    assert run.losses == whole.losses
    assert same_weights(weights(run), weights(whole))


def raise_killed(*_):
    raise Killed


def test_a_save_on_a_full_disk_leaves_the_previous_checkpoint_whole(prepare, uninterrupted):
    run = prepare(name="full", save_steps=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(done):
        if done == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    with before_each_step(fill_up):
        try:
            with pytest.raises(StageError) as caught:
                train(run.plan, run.folder, run.events(), StopRequest())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith("checkpoint-3 could not be written (got ")
    assert str(caught.value).endswith(
        "earlier checkpoints are intact: free space on the disk, and run the same command again"
    )
    good, damaged = checkpoints.latest_good(run.folder / "checkpoints")
    assert (good.name, damaged) == ("checkpoint-2", [])
    go_on(run)
    assert run.training["resumed_from_step"] == 2
    assert run.losses == uninterrupted.losses
    assert same_weights(weights(run), weights(uninterrupted))


def test_a_damaged_best_checkpoint_does_not_become_the_model(killed_after):
    keys = {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": None, "lr_scheduler": "constant"}
    run = killed_after(2, max_steps=3, learning_rate=5.0, save_total_limit=1, **keys)
    best = run.folder / "checkpoints" / "checkpoint-1"

    damaged = r"best checkpoint is damaged \(got checkpoint-1: weights-00000.safetensors has"
    with before_each_step(lambda _: damage_weights(best)), pytest.raises(StageError, match=damaged):
        go_on(run)
    go_on(run)
    assert "the best checkpoint up to checkpoint-3 cannot be used (checkpoint-1: " in run.texts("warning")[-1]
    assert (run.training["steps"], run.training["best_step"], run.training["eval_loss"]) == (3, None, None)


def test_a_lost_best_checkpoint_is_forgotten_with_its_metric(killed_after):
    keys = {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": None, "lr_scheduler": "constant"}
    run = killed_after(2, max_steps=4, learning_rate=5.0, save_total_limit=1, **keys)
    damage_weights(run.folder / "checkpoints" / "checkpoint-1")
    go_on(run)
    later = {step: loss for step, loss in eval_rows(run).items() if step > 2}
    assert run.training["best_step"] == min(later, key=later.get)
    assert run.training["eval_loss"] == min(later.values())


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_losses_since_the_last_line_of_the_log_are_not_lost(trained, killed_after, step):
    keys = {"num_epochs": None, "max_steps": 7, "logging_steps": 3}
    whole = trained(name="whole", save_steps=1, **keys)
    assert [row["step"] for row in whole.log] == [3, 6, 7]
    run = go_on(killed_after(step, **keys))
    assert run.losses == whole.losses
    assert run.training["train_loss"] == whole.training["train_loss"]


def test_a_checkpoint_that_cannot_be_deleted_does_not_affect_others(killed_after, monkeypatch):
    def stuck(path, ignore_errors=False):
        if not ignore_errors:
            raise OSError("Directory not empty")

    monkeypatch.setattr(checkpoints.shutil, "rmtree", stuck)
    run = killed_after(3, save_total_limit=1)
    good, damaged = checkpoints.latest_good(run.folder / "checkpoints")
    assert (checkpoints.step_of(good), damaged) == (3, [])
    assert checkpoints.damage(run.folder / "checkpoints" / "checkpoint-2") == "it is incomplete: it has no manifest"


def test_an_evaluation_without_a_number_stops_the_training(prepare, monkeypatch):
    run = prepare(train=18, val_set_size=5, eval_steps=1)
    compute = TokenLoss.__call__
    monkeypatch.setattr(
        TokenLoss, "__call__", lambda self, model, batch: compute(self, model, batch) * (1 if model.training else NAN)
    )
    with pytest.raises(
        StageError, match=r"the evaluation loss is not a number \(got nan at step 1\); lower learning_r"
    ):
        train(run.plan, run.folder, run.events(), StopRequest())
    assert eval_rows(run) == {}
