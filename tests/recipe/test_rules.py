"""Keys that need others, and keys that contradict each other."""

import pytest
from recipes_as_written import COMPARE, ENDPOINT, LORA, PROMPT, SHOTS, TRAIN, rule_findings

from summtune.recipe.parsing import parse
from summtune.recipe.rules import rule_problems, system_name


def test_predictions_and_references_are_refused_as_metric_arguments():
    metrics = {"metrics": ["bleu"], "metric_arguments": {"bleu": {"references": 1}}}
    message = "references are passed by summtune (got them in metric_arguments.bleu); remove the key"
    assert rule_findings(PROMPT, evaluation=metrics) == [("evaluation.metric_arguments.bleu.references", message)]


@pytest.mark.parametrize("given", [PROMPT, ENDPOINT, TRAIN, COMPARE, SHOTS, LORA])
def test_valid_recipes_have_no_problems(given):
    assert rule_findings(given) == []


@pytest.mark.parametrize("given", [PROMPT, ENDPOINT])
def test_shots_without_datasets_are_reported(given):
    assert rule_findings(given, shots=3) == [
        ("shots", "shots needs exemplars (got shots: 3); list where they come from in datasets")
    ]


def test_the_slurm_launcher_without_its_section_is_reported():
    assert rule_findings(TRAIN, launcher="slurm") == [
        ("launcher", "`launcher: slurm` needs a slurm section; give at least its time and gpus_per_node")
    ]


def test_the_number_of_exemplar_ids_must_equal_shots():
    assert rule_findings(SHOTS, exemplars={"choose": "ids"}) == [
        ("exemplars", "`choose: ids` needs ids; list the ids of the exemplars")
    ]
    assert rule_findings(SHOTS, exemplars={"choose": "ids", "ids": ["x"]}) == [
        ("exemplars.ids", "give exactly `shots` ids (got 1 ids, shots: 2)")
    ]


def test_long_dialogues_drop_is_refused_for_prompts():
    ((path, message),) = rule_findings(PROMPT, long_dialogues="drop")
    assert path == "long_dialogues"
    assert "every dialogue is scored; use truncate_end or truncate_start" in message
    assert rule_findings(TRAIN, long_dialogues="drop") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"datasets": [{"path": "a/b", "split": "test"}]},
        {"exemplars": {"split": "test"}},
        {"test_datasets": [{"path": "a/b", "split": "train"}]},
    ],
)
def test_exemplars_from_the_test_data_are_refused(changes):
    ((path, message),) = rule_findings(SHOTS, **changes)
    split = "train" if "test_datasets" in changes else "test"
    assert path == "datasets.0"
    assert message == (
        f"exemplars must not come from the test data (got a/b, split {split}, in both); use another split"
    )


def test_a_val_set_size_above_one_must_be_whole():
    assert rule_findings(TRAIN, val_set_size=1.5) == [
        ("val_set_size", "val_set_size is a count or a fraction below 1 (got 1.5); write a whole number")
    ]
    assert rule_findings(TRAIN, val_set_size=2.0) == []


@pytest.mark.parametrize(("size", "wrong"), [(9, []), (10, ["val_set_size"]), (12, ["val_set_size"]), (0.5, [])])
def test_a_val_set_size_that_leaves_no_training_data_is_reported(size, wrong):
    found = rule_findings(TRAIN, val_set_size=size, datasets=[{"path": "a/b", "limit": 6}, {"path": "c/d", "limit": 4}])
    assert [path for path, _ in found] == wrong
    assert all(f"(got {size}, and the limits of datasets leave 10 dialogues)" in message for _, message in found)


def test_save_steps_must_be_a_multiple_of_eval_steps():
    ((path, message),) = rule_findings(TRAIN, val_set_size=10, eval_steps=10, save_steps=15)
    assert (path, message.split(":")[0]) == (
        "save_steps",
        "save_steps must be a multiple of eval_steps (got 15 and 10)",
    )
    ((path, message),) = rule_findings(TRAIN, val_set_size=10, save_steps=15)
    assert (path, message.split(":")[0]) == ("save_steps", "save_steps with validation data needs eval_steps")


def test_two_systems_with_the_same_name_are_reported():
    assert rule_findings(COMPARE, recipes=["one.yaml", "sub/one.yml"]) == [
        ("recipes.1", "two systems have the same name (got 'one'); give one of them another `name`")
    ]
    assert rule_findings(COMPARE, recipes=["one.yaml", {"recipe": "sub/one.yml", "name": "two"}]) == []


def test_a_baseline_that_is_not_one_of_the_systems_is_reported():
    assert rule_findings(COMPARE, baseline="tow") == [
        ("baseline", "baseline is not one of the systems (got 'tow'), did you mean two?")
    ]
    assert rule_findings(COMPARE, baseline="x") == [
        ("baseline", "baseline is not one of the systems (got 'x'); known: one, two")
    ]
    assert rule_findings(COMPARE, baseline="two") == []


def test_a_system_without_a_name_is_named_after_its_file():
    assert system_name("recipes\\deep/few_shot.yaml") == "few_shot"


def test_a_file_of_outputs_is_a_system_with_a_name_that_may_be_the_baseline():
    outputs = {"predictions": "theirs/gpt4.csv"}
    assert rule_findings(COMPARE, recipes=["one.yaml", outputs], baseline="gpt4") == []
    assert [path for path, _ in rule_findings(COMPARE, recipes=["one.yaml", outputs, outputs])] == ["recipes.2"]
    assert rule_findings(COMPARE, recipes=["gpt4.yaml", outputs | {"name": "GPT-4"}], baseline="GPT-4") == []


def test_a_comparison_of_outputs_alone_is_referred_to_the_commands_that_compare_them():
    ((path, message),) = rule_findings(COMPARE, recipes=[{"predictions": "a.csv"}, {"predictions": "b.csv"}])
    assert path == "recipes"
    assert "got only predictions" in message
    assert "`summtune evaluate --output-dir`" in message


def test_a_tracking_uri_with_a_password_is_refused():
    given = TRAIN | {"mlflow_tracking_uri": "https://me:secret@host"}
    ((path, message),) = rule_problems(given, parse(given).recipe)
    assert path == ("mlflow_tracking_uri",)
    assert "must not contain a user or password" in message
    assert "secret" not in message


VALIDATION = {"val_datasets": [{"path": "a/b"}]}


def test_validation_data_from_two_keys_is_an_error_at_both():
    both = rule_findings(TRAIN, val_set_size=50, **VALIDATION)
    assert both == [
        ("val_set_size", "val_set_size has no effect with val_datasets; keep one of the two"),
        ("val_datasets", "val_datasets has no effect with val_set_size; keep one of the two"),
    ]
    assert rule_findings(TRAIN, val_set_size=0, **VALIDATION) == []


@pytest.mark.parametrize("keys", [{"val_set_size": 50}, VALIDATION])
def test_either_validation_data_will_do_for_evaluations(keys):
    assert rule_findings(TRAIN, early_stopping_patience=2, eval_steps=5, save_steps=5, **keys) == []
    ((path, message),) = rule_findings(TRAIN, save_steps=5, **keys)
    assert (path, message.split(":")[0]) == ("save_steps", "save_steps with validation data needs eval_steps")


@pytest.mark.parametrize(
    ("tested", "validated", "where"),
    [
        ({"path": "a/b", "split": "validation"}, {"path": "a/b"}, "a/b, split validation"),
        ({"path": "a/b"}, {"path": "a/b", "split": "test"}, "a/b, split test"),
        ({"path": "a.jsonl"}, {"path": "a.jsonl", "limit": 5}, "a.jsonl"),
    ],
)
def test_validation_data_must_not_be_the_test_data(tested, validated, where):
    ((path, message),) = rule_findings(TRAIN, test_datasets=[tested], val_datasets=[{"path": "c/d"}, validated])
    assert path == "val_datasets.1"
    assert (
        f"validation data must not come from the test data, because it selects the checkpoint (got {where}," in message
    )


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        ({"load_in_4bit": True}, "load_in_4bit", "weights of four bits cannot be trained (got load_in_4bit: true"),
        ({"adapter": "qlora", "load_in_4bit": False}, "load_in_4bit", "`adapter: qlora` is LoRA on weights of four"),
        (
            {"adapter": "qlora", "peft_init_lora_weights": "pissa_niter_4"},
            "peft_init_lora_weights",
            "pissa_niter_4 takes a part of the base's weights",
        ),
        (
            {"adapter": "lora", "load_in_4bit": True, "peft_init_lora_weights": "olora"},
            "peft_init_lora_weights",
            "olora takes a part of the base's weights",
        ),
    ],
)
def test_what_contradicts_weights_of_four_bits_is_reported(keys, key, why):
    ((found, message),) = rule_findings(TRAIN, **keys)
    assert found == key
    assert message.startswith(why)


@pytest.mark.parametrize(
    "keys",
    [
        {"load_in_4bit": False},
        {"adapter": "qlora", "load_in_4bit": True, "peft_init_lora_weights": "gaussian"},
        {"adapter": "ia3", "load_in_4bit": True},
        {"adapter": "lora", "peft_init_lora_weights": "pissa"},
    ],
    ids=str,
)
def test_weights_of_four_bits_under_an_adapter_are_accepted(keys):
    assert rule_findings(TRAIN, **keys) == []
    assert rule_findings(PROMPT, load_in_4bit=True) == []
