import json
import shutil

import pytest
import torch
from families import both_families, loaded_by_transformers, with_labels
from peft import AutoPeftModelForSeq2SeqLM, PeftModel
from safetensors.torch import load_file
from tiny_inputs import dialogues, overflow, write_rows
from trained_runs import eval_rows, same_weights, weights
from transformers import AutoModelForSeq2SeqLM

from summtune.base.errors import DataError, ModelError, StageError
from summtune.base.files import read_jsonl
from summtune.base.places import package_path
from summtune.base.strict import read_model
from summtune.plan.launch import Launch
from summtune.runs import checkpoints
from summtune.runs.supervision import SUPERVISION_FILE, Supervision
from summtune.work.models.loading import load_model, load_tokenizer
from summtune.work.models.saved_model import ModelWriter
from summtune.work.process.stopping import StopRequest
from summtune.work.tokens.examples import read_examples
from summtune.work.tokens.planned import encoder_of
from summtune.work.training import model as model_module
from summtune.work.training.loop import train
from summtune.work.training.loss import TokenLoss

# Deprecated names of transformers 5: peft uses one, and 5.20 has no other name for the argument
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")


LORA = {"adapter": "lora", "lora_r": 4}
IA3 = {"adapter": "ia3", "learning_rate": 0.1}
PISSA = LORA | {"peft_init_lora_weights": "pissa", "loraplus_lr_ratio": 4}
PROMPT = {"adapter": "prompt_tuning", "num_virtual_tokens": 5, "learning_rate": 0.3}


def test_a_trained_model_is_complete_with_an_untied_lm_head(trained, checkpoint):
    run = trained()
    model = run.folder / "model"
    stored = load_file(checkpoint / "model.safetensors")
    now = weights(run)
    assert now.keys() == stored.keys()
    assert all(not torch.equal(now[name], stored[name]) for name in ("lm_head.weight", "shared.weight"))
    assert json.loads((model / "config.json").read_text())["tie_word_embeddings"] is False
    assert json.loads((model / "config.json").read_text())["use_cache"] is True
    loaded = AutoModelForSeq2SeqLM.from_pretrained(model)
    assert torch.equal(loaded.lm_head.weight, now["lm_head.weight"])
    assert torch.equal(loaded.shared.weight, now["shared.weight"])
    names = {path.name for path in model.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any(path.suffix in {".bin", ".pt", ".pkl"} for path in model.iterdir())
    assert not (run.folder / "model.partial").exists()


def test_on_a_cpu_freed_memory_is_returned_after_every_fourth_step(trained, monkeypatch):
    returned = []
    monkeypatch.setattr("summtune.work.training.loop.return_freed_memory", lambda: returned.append(True))
    trained(train=9, micro_batch_size=1, num_epochs=1)
    assert len(returned) == 2


def test_training_json_records_what_was_trained(trained):
    run = trained(train=13, micro_batch_size=4, gradient_accumulation_steps=2)
    recorded = run.training
    assert recorded["trainable_parameters"] == recorded["total_parameters"] > 50_000
    assert (recorded["pairs"], recorded["steps"], recorded["epochs"]) == (13, 4, 2.0)
    assert (recorded["processes"], recorded["precision"]) == (1, "fp32")
    assert recorded["eval_loss"] is recorded["best_step"] is recorded["resumed_from_step"] is None
    assert recorded["peak_memory_bytes"] > 1e8
    total = f"{recorded['total_parameters']:,}"
    assert run.texts("message")[1] == f"training {total} of {total} parameters (100.00 %)"


def test_each_logged_step_has_all_its_numbers(trained):
    run = trained(learning_rate=0.01)
    assert [row["step"] for row in run.log] == [1, 2, 3, 4]
    assert [row["epoch"] for row in run.log] == [0.5, 1.0, 1.5, 2.0]
    assert [row["learning_rate"] for row in run.log] == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    assert run.losses[-1] < run.losses[0] - 0.5
    for row in run.log:
        assert row["grad_norm"] > 0
        assert row["samples_per_second"] > 0
        assert row["tokens_per_second"] > row["samples_per_second"]
        assert row["peak_memory_bytes"] > 1e8


@both_families
def test_training_again_gives_bitwise_the_same_model(trained, uninterrupted):
    again = trained()
    assert again.losses == uninterrupted.losses
    assert same_weights(weights(again), weights(uninterrupted))


@both_families
def test_the_micro_batch_does_not_change_the_training(trained, uninterrupted):
    """The layouts on several processes are in the integration tests."""
    whole = uninterrupted
    cut = trained(name="cut", micro_batch_size=2, gradient_accumulation_steps=4)
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)
    assert [row["grad_norm"] for row in cut.log] == pytest.approx([row["grad_norm"] for row in whole.log], rel=1e-4)


@both_families
@pytest.mark.parametrize(
    "keys",
    [LORA | {"lora_dropout": 0.0}, IA3, PISSA | {"lora_dropout": 0.0}, PROMPT],
    ids=["lora", "ia3", "pissa", "prompt_tuning"],
)
def test_an_adapter_gives_the_same_training_for_any_micro_batch(trained, keys):
    whole = trained(name="whole", **keys)
    cut = trained(name="cut", micro_batch_size=2, gradient_accumulation_steps=4, **keys)
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)


@both_families
def test_gradient_checkpointing_does_not_change_the_training(trained, uninterrupted):
    plain, saving = uninterrupted, trained(gradient_checkpointing=True)
    assert saving.losses == pytest.approx(plain.losses, rel=1e-6)
    assert [row["grad_norm"] for row in saving.log] == pytest.approx([row["grad_norm"] for row in plain.log], rel=1e-5)


@both_families
@pytest.mark.parametrize(
    "keys",
    [LORA | {"lora_dropout": 0.0}, IA3, PISSA | {"lora_dropout": 0.0}, PROMPT],
    ids=["lora", "ia3", "pissa", "prompt_tuning"],
)
def test_gradient_checkpointing_works_with_an_adapter(trained, keys):
    plain, saving = trained(name="plain", **keys), trained(name="saving", gradient_checkpointing=True, **keys)
    assert saving.losses == pytest.approx(plain.losses, rel=1e-6)


@both_families
@pytest.mark.parametrize("keys", [LORA, IA3, PROMPT], ids=["lora", "ia3", "prompt_tuning"])
def test_only_the_adapter_is_saved(trained, checkpoint, keys):
    run = trained(**keys)
    names = {path.name for path in (run.folder / "model").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json"} <= names
    assert not names & {"model.safetensors", "training_args.bin"}
    config = json.loads((run.folder / "model" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(checkpoint)
    adapter = load_file(run.folder / "model" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in adapter.values()) == run.training["trainable_parameters"]
    base = load_model(checkpoint, torch.float32)
    counted = sum(parameter.numel() for parameter in base.parameters()) + run.training["trainable_parameters"]
    assert run.training["total_parameters"] == counted


@pytest.mark.parametrize(
    ("asked", "has", "expected"), [("auto", True, "bf16"), ("auto", False, "fp32"), (True, True, "bf16")]
)
def test_the_precision_is_recorded(trained, monkeypatch, asked, has, expected):
    monkeypatch.setattr("summtune.work.process.precision._has_bf16", lambda device: has)
    run = trained(bf16=asked, max_steps=1, num_epochs=None)
    assert run.training["precision"] == expected
    assert {tensor.dtype for tensor in weights(run).values()} == {torch.float32}


def test_max_steps_ends_the_training(trained):
    run = trained(max_steps=3, num_epochs=None)
    assert run.training["steps"] == len(run.log) == 3


def test_half_an_epoch_is_half_the_steps(trained):
    assert trained(train=32, num_epochs=0.5).training["steps"] == 2


def test_logging_steps_are_the_steps_between_two_lines_and_the_last_one_is_logged(trained):
    run = trained(max_steps=5, num_epochs=None, logging_steps=2)
    assert [row["step"] for row in run.log] == [2, 4, 5]


def test_each_reference_of_a_dialogue_is_a_pair(trained):
    rows = dialogues(6)
    run = trained(rows=rows + [row | {"id": row["id"] + "b", "summary": "They agree."} for row in rows[:2]])
    assert run.training["pairs"] == 8


def test_validation_dialogues_are_held_out_and_evaluated(trained):
    run = trained(train=18, val_set_size=5)
    assert run.training["pairs"] == 13
    assert list(eval_rows(run)) == [2, 4]
    assert run.training["eval_loss"] == pytest.approx(min(eval_rows(run).values()))


def test_a_share_of_the_dialogues_is_held_out(trained):
    run = trained(train=20, val_set_size=0.25, max_steps=2, num_epochs=None, eval_steps=1)
    assert run.training["pairs"] == 15
    assert list(eval_rows(run)) == [1, 2]


@both_families
def test_the_evaluation_loss_is_that_of_the_saved_model(trained, family):
    run = trained(train=18, val_set_size=5, micro_batch_size=2, gradient_accumulation_steps=4)
    tokenizer = load_tokenizer(run.folder / "model")
    encoder, ends = encoder_of(run.plan, tokenizer), (tokenizer.eos_token_id,)
    pairs = read_examples(run.plan, run.folder, encoder, ends, run.events())["validation"].pairs
    model = loaded_by_transformers(run.folder / "model", family).eval()
    total = tokens = 0
    with torch.no_grad():
        for pair in pairs:
            loss = model(**with_labels(pair, family)).loss
            total += loss.item() * len(pair["labels"])
            tokens += len(pair["labels"])
    assert run.training["eval_loss"] == pytest.approx(total / tokens, rel=1e-4)


@both_families
def test_training_stops_early_and_keeps_the_best_model(trained):
    keys = {"train": 18, "val_set_size": 5, "eval_steps": 1, "num_epochs": None, "lr_scheduler": "constant"}
    # Steps this long overshoot: the loss falls and then rises.
    run = trained(max_steps=40, learning_rate=0.2, early_stopping_patience=1, **keys)
    evaluated = eval_rows(run)
    best = min(evaluated, key=evaluated.get)
    assert run.training["steps"] == best + 1 < 40
    assert f"stopped early at step {best + 1} of 40: no better validation loss in 1 evaluation" in run.texts("message")
    assert run.training["best_step"] == best
    assert run.training["eval_loss"] == evaluated[best]
    until_best = trained(name="until_best", max_steps=best, learning_rate=0.2, **keys)
    assert same_weights(weights(run), weights(until_best))


def test_an_evaluation_that_is_never_reached_is_a_warning(trained):
    run = trained(val_set_size=3, eval_steps=50, max_steps=2, num_epochs=None)
    assert run.texts("warning") == ["eval_steps 50 is never reached in 2 steps, so no best checkpoint is chosen"]


def test_another_number_of_processes_than_planned_is_an_error(prepare):
    run = prepare()
    launch = Launch(distribution="data_parallel", processes=2, device="cpu", config_file="accelerate.yaml")
    with pytest.raises(StageError, match=r"the plan is for 2 processes \(got 1\); see the launcher's log"):
        train(run.plan.model_copy(update={"train": launch}), run.folder, run.events(), StopRequest())


def test_a_loss_that_is_not_a_number_stops_the_training(prepare, checkpoint, tmp_path):
    run = prepare(base_model=str(overflow(shutil.copytree(checkpoint, tmp_path / "overflowing"))))
    with pytest.raises(StageError, match=r"the training loss is not a number \(got (nan|inf) at step 1\); lower"):
        train(run.plan, run.folder, run.events(), StopRequest())
    assert run.losses == []
    assert not (run.folder / "model").exists()


def test_a_training_that_diverges_stops_at_the_step_and_keeps_the_checkpoint_before(prepare):
    run = prepare(lr_scheduler="constant", save_steps=1, logging_steps=100)
    recipe = run.plan.recipe.model_copy(update={"learning_rate": 1e30})  # a recipe may not ask for more than 10
    run.plan = run.plan.model_copy(update={"recipe": recipe})
    with pytest.raises(StageError, match=r"not a number \(got (nan|inf|inf or nan) at step 2\); lower learning_rate"):
        train(run.plan, run.folder, run.events(), StopRequest())
    (kept,) = checkpoints.checkpoints(run.folder / "checkpoints")
    assert (checkpoints.step_of(kept), checkpoints.damage(kept)) == (1, None)
    assert not (run.folder / "model").exists()


def test_a_poisoned_batch_stops_the_training_at_its_step(prepare, monkeypatch):
    run = prepare(
        save_steps=1, logging_steps=100, save_total_limit=5, gradient_accumulation_steps=2, micro_batch_size=4
    )
    compute, calls = TokenLoss.__call__, []

    def poisoned(*arguments):
        calls.append(1)
        return compute(*arguments) * (float("nan") if len(calls) == 5 else 1)  # the first half of step 3

    monkeypatch.setattr(TokenLoss, "__call__", poisoned)
    with pytest.raises(StageError, match=r"the training loss is not a number \(got nan at step 3\); lower"):
        train(run.plan, run.folder, run.events(), StopRequest())
    assert [checkpoints.step_of(path) for path in checkpoints.checkpoints(run.folder / "checkpoints")] == [2, 1]


def test_weights_that_become_infinite_in_an_update_are_not_saved(prepare, monkeypatch):
    run = prepare(save_steps=1)
    real = torch.optim.AdamW.step

    def breaking(self, closure=None):
        real(self, closure)
        with torch.no_grad():
            self.param_groups[0]["params"][0].view(-1)[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    with pytest.raises(StageError, match=r"a weight is not a number \(got inf or nan at step 1\)"):
        train(run.plan, run.folder, run.events(), StopRequest())
    assert checkpoints.latest_good(run.folder / "checkpoints")[0] is None


@both_families
@pytest.mark.parametrize("keys", [{}, LORA, IA3], ids=["full", "lora", "ia3"])
def test_the_saved_model_gives_the_logits_of_the_one_in_memory(trained, checkpoint, monkeypatch, keys, family):
    ids = torch.tensor([[5, 6, 7, 8, 9, 1]])
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids} if family == "encoder_decoder" else {})}
    in_memory, save = [], ModelWriter.save

    def remember(self, model, run_dir):
        with torch.no_grad():
            in_memory.append(model.eval()(**inputs).logits)
        save(self, model, run_dir)

    monkeypatch.setattr(ModelWriter, "save", remember)
    run = trained(**keys)
    loaded = loaded_by_transformers(checkpoint if keys else run.folder / "model", family)
    if keys:
        loaded = PeftModel.from_pretrained(loaded, run.folder / "model")
    loaded.set_attn_implementation("eager") if not keys and family == "encoder_decoder" else None
    with torch.no_grad():
        now = loaded.eval()(**inputs).logits
    # On some processors the model in memory multiplies with another library, which rounds differently.
    assert torch.allclose(now, in_memory[0], rtol=1e-5, atol=2e-5)
    before = loaded_by_transformers(checkpoint, family).eval()
    assert not torch.allclose(now, before(**inputs).logits, atol=0.1)


def test_dropped_dialogues_are_counted_in_a_warning(trained):
    run = trained(sequence_len=220, long_dialogues="drop", max_steps=1, num_epochs=None)
    (warning,) = run.texts("warning")
    dropped = 13 - run.training["pairs"]
    assert 0 < dropped < 13
    assert warning == f"train: {dropped} of 13 dialogues exceed sequence_len 220 and are left out"


def test_cut_dialogues_are_counted_in_a_warning(trained):
    run = trained(sequence_len=220, max_steps=1, num_epochs=None)
    (warning,) = run.texts("warning")
    assert warning.endswith("of 13 dialogues exceed sequence_len 220 and are cut")
    assert run.training["pairs"] == 13


def test_summaries_beyond_target_len_are_an_error_before_the_model_is_loaded(prepare, monkeypatch):
    monkeypatch.setattr(model_module, "load_model", None)
    run = prepare(target_len=6, val_set_size=2)
    with pytest.raises(DataError) as error:
        train(run.plan, run.folder, run.events(), StopRequest())
    train_line, validation_line = str(error.value).splitlines()
    assert "exceeds target_len 6 (the longest has 1" in train_line
    assert "in 11 of 11 examples" in train_line
    assert "set target_len to 1" in train_line
    assert validation_line.startswith("validation: ")
    assert not (run.folder / "supervision.json").exists()


def test_what_was_checked_of_the_examples_is_recorded(trained):
    run = trained(val_set_size=2, max_steps=1, num_epochs=None)
    found = read_model(Supervision, run.folder / SUPERVISION_FILE)
    assert (found.template, [end.text for end in found.ends]) == ("plain text", ["</s>"])
    assert {role: each.examples for role, each in found.roles.items()} == {"train": 11, "validation": 2}
    assert {each.prompts_encoded_again for each in found.roles.values()} == {11, 2}
    assert "not_cut" in found.checks
    assert "stable_template" not in found.checks
    assert any("11 train and 2 validation examples passed" in text for text in run.texts("message"))


def test_nothing_left_to_train_on_is_an_error(prepare):
    run = prepare(sequence_len=60, long_dialogues="drop")
    with pytest.raises(DataError, match=r"train: no dialogue is left \(got 13, of which 13 exceed sequence_len 60 and"):
        train(run.plan, run.folder, run.events(), StopRequest())


def test_nothing_left_to_validate_with_is_an_error_before_the_model_is_loaded(prepare, monkeypatch):
    short = {"dialogue": "#Person1#: No.", "summary": "No."}
    rows = [{"id": f"s{at}", **short, "dialogue": f"#Person1#: No, {at}."} for at in range(4)]
    run = prepare(rows=rows, val_set_size=2, sequence_len=100, long_dialogues="drop")
    validation = run.folder / "data" / "validation.jsonl"
    write_rows(validation, [row | {"dialogue": 40 * row["dialogue"]} for row in list(read_jsonl(validation))])
    monkeypatch.setattr(model_module, "load_model", None)
    with pytest.raises(
        DataError, match=r"validation: no dialogue is left \(got 2, of which 2 exceed sequence_len 100.*val_set_size"
    ):
        train(run.plan, run.folder, run.events(), StopRequest())


def test_losses_of_the_tokenizer_are_warnings_and_recorded(trained):
    rows = [
        {"id": "a", "dialogue": "#Person1#: Привет </s>", "summary": "One says\nПривет."},
        {"id": "b", "dialogue": "#Person1#: Hello", "summary": "One says <pad>."},
    ]
    run = trained(rows=rows, max_steps=1, num_epochs=None)
    prompts, summaries = run.texts("warning")
    assert prompts.startswith("train: the tokenizer has no token for 16 % of the characters in dialogues: 1 of 2")
    assert "a: Привет" in prompts
    assert "1 of 2 summaries have" in summaries
    assert run.training["warnings"] == [prompts, summaries]
    assert run.training["lost_text"]["train"]["prompts"]["lost"]["unknown"]["characters"] == 6
    assert [text for text in run.texts("message") if "control tokens" in text] == [
        "train: 1 of 2 dialogues contain the text of control tokens, which is encoded as text (for instance a: </s>)",
        "train: 1 of 2 summaries contain the text of control tokens, which is encoded as text (for instance b: <pad>)",
    ]


def test_a_bundled_base_is_named_by_its_folder_which_peft_can_load(trained):
    run = trained(base_model="builtin/flan-t5-nano", adapter="lora", max_steps=1, num_epochs=None)
    named = json.loads((run.folder / "model" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(package_path("assets/flan-t5-nano"))
    AutoPeftModelForSeq2SeqLM.from_pretrained(run.folder / "model")


def test_an_adapter_names_the_revision_of_a_hub_model(prepare, checkpoint):
    run = prepare(adapter="lora", max_steps=1, num_epochs=None)
    fetched = run.plan.model.model_copy(update={"base_model": "owner/tiny", "revision": "7bcac57"})
    train(run.plan.model_copy(update={"model": fetched}), run.folder, run.events(), StopRequest())
    config = json.loads((run.folder / "model" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("owner/tiny", "7bcac57")


def test_an_unknown_target_module_is_an_error(prepare):
    run = prepare(adapter="lora", lora_target_modules=["decoder.q"])
    with pytest.raises(ModelError, match=r"got 'decoder.q'"):
        train(run.plan, run.folder, run.events(), StopRequest())


def test_an_adapter_that_did_not_change_is_an_error(prepare, monkeypatch):
    run = prepare(adapter="lora", learning_rate=1e-30)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    with pytest.raises(StageError, match=r"the adapter did not change in training \(got 0 in .*lora_B"):
        train(run.plan, run.folder, run.events(), StopRequest())
    assert not (run.folder / "model").exists()
