"""One training on every layout: the same losses, gradient norms, evaluation losses and summaries."""

import pytest
from families import FAMILIES, both_families, decoder_only, loaded_by_transformers, quick_for_one_family
from peft import PeftModel
from real_command import layout, loss_by_transformers, run_to_the_end, same_weights
from safetensors.torch import load_file
from tiny_decoders import write_decoder

from summtune.base.files import read_json
from summtune.machine.stored_tensors import stored_tensors

pytestmark = pytest.mark.usefixtures("compiled")
SLOW = pytest.mark.slow

ON_TWO = {"num_processes": 2}
HALF = {"micro_batch_size": 2, "gradient_accumulation_steps": 2, **ON_TWO}
LAYOUTS = {
    "2x4": {"micro_batch_size": 2, "gradient_accumulation_steps": 4},
    "two processes 4x1": {"micro_batch_size": 4, **ON_TWO},
    "two processes 2x2": HALF,
    "ZeRO-1 2x2": HALF | {"deepspeed": "ds_configs/zero1.json"},
    "ZeRO-2 2x2": HALF | {"deepspeed": "ds_configs/zero2.json"},
    "ZeRO-3 2x2": HALF | {"deepspeed": "ds_configs/zero3.json"},
}


LORA = {"adapter": "lora", "lora_r": 4, "lora_dropout": 0.0}
IA3 = {"adapter": "ia3", "learning_rate": 0.1}
PROMPT_TUNING = {"adapter": "prompt_tuning", "num_virtual_tokens": 5, "learning_rate": 0.3}
# By default rank 4 on q and v; outputs of k and v, and inputs of the last layer of each feed-forward block.
ADAPTERS = {
    # Two encoder layers, and one decoder layer with two attentions.
    "lora": ("encoder_decoder", LORA, 4 * 2 * 4 * (32 + 32)),
    "ia3": ("encoder_decoder", IA3, 4 * 2 * 32 + 3 * 64),
    "pissa, LoRA+": (
        "encoder_decoder", LORA | {"peft_init_lora_weights": "pissa", "loraplus_lr_ratio": 4}, 4 * 2 * 4 * (32 + 32)
    ),
    "prompt_tuning": ("encoder_decoder", PROMPT_TUNING, 5 * 32),
    # Two layers, in which two heads of four share keys and values.
    "decoder-only, lora": (
        "decoder_only", LORA | {"lora_target_modules": ["q_proj", "v_proj"]}, 2 * 4 * (32 + 32 + 32 + 16)
    ),
    "decoder-only, ia3": ("decoder_only", IA3, 2 * (2 * 16 + 48)),
    "decoder-only, prompt_tuning": ("decoder_only", PROMPT_TUNING, 5 * 32),
}  # fmt: skip
UNSHARDED = {"prompt_tuning": "ZeRO-2 2x2"}  # ZeRO-3 is refused


@pytest.fixture(scope="session")
def recipe(write_recipe):
    """13 pairs in global batches of 8: two steps an epoch, the second one filled up; 5 dialogues are evaluated."""
    test = [{"path": "test.jsonl", "id_field": "id", "limit": 4}]
    return write_recipe("layouts", num_epochs=2, val_set_size=5, test_datasets=test)


@pytest.fixture(scope="session")
def reference(recipe, tmp_path_factory):
    """The training on one process, with whole global batches."""
    return run_to_the_end(recipe, tmp_path_factory.mktemp("layouts") / "8x1")


def assert_same_training(run, reference):
    assert [row["step"] for row in run.steps] == [row["step"] for row in reference.steps] == [1, 2, 3, 4]
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in run.steps] == pytest.approx([row[key] for row in reference.steps], rel=1e-3)
    assert [row["learning_rate"] for row in run.steps] == [row["learning_rate"] for row in reference.steps]
    assert run.evaluations == pytest.approx(reference.evaluations, rel=1e-3)
    assert list(run.evaluations) == [2, 4]
    assert run.texts == reference.texts


def assert_ran_on(run, processes):
    plan = run.json("plan.json")
    assert [plan[stage]["processes"] for stage in ("train", "predict")] == [processes] * 2
    assert {path.name for path in (run.folder / "logs").glob("train.rank*.log")} == {
        f"train.rank{rank}.log" for rank in range(processes)
    }
    assert run.json("training.json")["processes"] == processes
    assert run.json("prediction_stats.json")["processes"] == processes


@quick_for_one_family
def test_the_reference_learned_and_is_complete(reference):
    assert reference.steps[-1]["loss"] < reference.steps[0]["loss"] - 0.5
    assert len(set(reference.texts.values())) > 1
    assert_ran_on(reference, 1)


QUICK = [("encoder_decoder", name) for name in ("2x4", "two processes 2x2", "ZeRO-2 2x2")]
QUICK.append(("decoder_only", "ZeRO-2 2x2"))


@pytest.mark.parametrize(
    ("family", "name"),
    [
        pytest.param(family, name, marks=() if (family, name) in QUICK else SLOW, id=f"{family}, {name}")
        for family in FAMILIES
        for name in LAYOUTS
    ],
    indirect=["family"],
)
def test_every_layout_trains_the_same_model(reference, recipe, inputs, tmp_path, family, name):
    run = run_to_the_end(recipe, tmp_path / "run", *layout(**LAYOUTS[name]))
    assert_same_training(run, reference)
    assert_ran_on(run, LAYOUTS[name].get("num_processes", 1))
    assert run.json("plan.json")["identity"] == reference.json("plan.json")["identity"]

    model = run.folder / "model"
    tied = read_json(model / "config.json")["tie_word_embeddings"]
    assert tied is (family == "decoder_only")
    assert stored_tensors(model) == stored_tensors(inputs / family)  # each tensor once, with lm_head unless it is tied
    assert ("lm_head.weight" in stored_tensors(model)) is not tied
    loaded, stored = loaded_by_transformers(model, family), load_file(model / "model.safetensors")
    assert same_weights(stored, {name: loaded.state_dict()[name] for name in stored})
    heads = loaded.get_output_embeddings().weight, loaded.get_input_embeddings().weight
    assert bool((heads[0] == heads[1]).all()) is tied
    # What the trained model in memory gave for these dialogues, the one that was loaded gives too.
    assert loss_by_transformers(loaded, run, family) == pytest.approx(run.json("training.json")["eval_loss"], rel=1e-5)
    assert not (run.folder / "checkpoints").exists()


@SLOW
@both_families
def test_the_order_is_the_same_without_length_grouping(reference, recipe, tmp_path):
    options = layout(group_by_length=False)
    alone = run_to_the_end(recipe, tmp_path / "alone", *options)
    both = run_to_the_end(recipe, tmp_path / "both", *options, *layout(**HALF))
    assert_same_training(both, alone)
    assert both.losses != reference.losses


@SLOW
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("name", ["two processes 2x2", "ZeRO-3 2x2"])
@pytest.mark.parametrize(("family", "keys", "weights"), ADAPTERS.values(), ids=ADAPTERS, indirect=["family"])
def test_an_adapter_trains_alike_on_two_processes(recipe, inputs, tmp_path, name, family, keys, weights):
    name = UNSHARDED.get(keys["adapter"], name) if "ZeRO" in name else name
    alone = run_to_the_end(recipe, tmp_path / "alone", *layout(**keys))
    both = run_to_the_end(recipe, tmp_path / "both", *layout(**keys, **LAYOUTS[name]))
    assert_same_training(both, alone)
    assert_ran_on(both, 2)
    assert both.json("training.json")["trainable_parameters"] == weights
    stored = 2 if "peft_init_lora_weights" in keys else 1  # with what it took of the base
    assert sum(tensor.numel() for tensor in both.weights.values()) == weights * stored
    assert both.weights.keys() == alone.weights.keys()
    base = loaded_by_transformers(inputs / family, family)
    loaded = PeftModel.from_pretrained(base, both.folder / "model").eval()
    eval_loss = both.json("training.json")["eval_loss"]
    assert loss_by_transformers(loaded, both, family) == pytest.approx(eval_loss, rel=1e-5)


@SLOW
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "gpt_neox"])
@decoder_only
def test_heads_of_every_kind_stay_what_they_are_under_zero_3(recipe, tmp_path, architecture):
    base = write_decoder(tmp_path / "base", architecture)
    alone = run_to_the_end(recipe, tmp_path / "alone", *layout(base_model=base))
    both = run_to_the_end(recipe, tmp_path / "both", *layout(base_model=base, **LAYOUTS["ZeRO-3 2x2"]))
    assert_same_training(both, alone)
    assert stored_tensors(both.folder / "model") == stored_tensors(base)
    loaded = loaded_by_transformers(both.folder / "model", "decoder_only")
    assert loss_by_transformers(loaded, both, "decoder_only") == pytest.approx(
        both.json("training.json")["eval_loss"], rel=1e-5
    )
