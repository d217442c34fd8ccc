"""Keys that would have no effect, and the keys that decide so."""

import pytest
from recipes_as_written import COMPARE, ENDPOINT, LORA, PROMPT, SHOTS, TRAIN, rule_findings

from summtune.recipe.ineffective import no_effect
from summtune.recipe.parsing import parse
from summtune.recipe.rules import rule_problems


def test_metric_arguments_of_an_unlisted_metric_are_reported():
    metrics = {"metrics": ["rouge1", "mine/bertscore.py"], "metric_arguments": {"bertscore": {"num_layers": 9}}}
    assert rule_findings(PROMPT, evaluation=metrics) == []
    metrics["metric_arguments"] = {"bretscore": {}, "rouge1": {}}
    assert rule_findings(PROMPT, evaluation=metrics) == [
        (
            f"evaluation.metric_arguments.{name}",
            f"metric_arguments for a metric that evaluation.metrics does not list (got '{name}'){more}",
        )
        for name, more in (("bretscore", ", did you mean bertscore?"), ("rouge1", "; known: bertscore"))
    ]
    only = rule_findings(PROMPT, evaluation={"metric_arguments": {"bertscore": {}}})
    assert [message.partition(")")[2] for _, message in only] == ["; it lists only ROUGE, which takes no arguments"]


def test_a_tokenizer_without_rouge_has_no_effect():
    assert rule_findings(PROMPT, evaluation={"tokenizer": "unicode", "metrics": ["bleu"]}) == [
        (
            "evaluation.tokenizer",
            "tokenizer has no effect without ROUGE among evaluation.metrics; add rouge1, or remove the key",
        )
    ]
    assert rule_findings(PROMPT, evaluation={"tokenizer": "unicode", "metrics": ["bleu", "rougeL"]}) == []
    assert rule_findings(PROMPT, evaluation={"tokenizer": "rouge", "metrics": ["bleu"]}) == []


@pytest.mark.parametrize(
    ("given", "changes", "why"),
    [
        (ENDPOINT, {"base_model": "a/b"}, "with an endpoint; keep one of the two"),
        (ENDPOINT, {"bf16": True}, "with an endpoint; remove it"),
        (ENDPOINT, {"price": {"device_hour": 1}}, "with an endpoint; set endpoint.price"),
        (ENDPOINT, {"sequence_len": 64}, "with an endpoint; remove it"),
        (ENDPOINT, {"chat_template": "auto"}, "with an endpoint; remove it"),
        (ENDPOINT, {"learning_rate": 0.1}, "in `kind: prompt` (only `kind: train` reads it); remove it"),
        (ENDPOINT, {"exemplars": {}}, "with `shots: 0`; set shots, or remove the key"),
        (TRAIN, {"endpoint": {}}, "in `kind: train` (only `kind: prompt` reads it); remove it"),
        (TRAIN, {"lora_r": 8}, "without `adapter: lora`; add the adapter or remove the key"),
        (TRAIN, {"lora_alpha": 8}, "without `adapter: lora`; add the adapter or remove the key"),
        (TRAIN, {"lora_dropout": 0.1}, "without `adapter: lora`; add the adapter or remove the key"),
        (TRAIN, {"lora_target_modules": ["q"]}, "without `adapter: lora`; add the adapter or remove the key"),
        (TRAIN, {"peft_use_dora": True}, "without `adapter: lora`; add the adapter or remove the key"),
        (TRAIN, {"peft_use_rslora": True}, "without `adapter: lora`; add the adapter or remove the key"),
        *(
            (TRAIN, {key: value}, "without `adapter: lora`; add the adapter or remove the key")
            for key, value in (
                ("lora_target_linear", True),
                ("peft_init_lora_weights", "pissa"),
                ("loraplus_lr_ratio", 2),
            )
        ),
        *(
            (LORA, {key: value}, "without `adapter: prompt_tuning`; add the adapter or remove the key")
            for key, value in (("num_virtual_tokens", 8), ("prompt_tuning_init_text", "summary"))
        ),
        *(
            (
                LORA,
                {"lora_target_linear": value, "lora_target_modules": ["q"]},
                "with lora_target_modules, which names the layers; keep one of the two",
            )
            for value in (True, False)
        ),
        (TRAIN, {"ia3_target_modules": ["k"]}, "without `adapter: ia3`; add the adapter or remove the key"),
        (LORA, {"ia3_feedforward_modules": ["wo"]}, "without `adapter: ia3`; add the adapter or remove the key"),
        (LORA | {"adapter": "ia3"}, {"lora_r": 8}, "without `adapter: lora`; add the adapter or remove the key"),
        (PROMPT, {"datasets": [{"path": "c/d"}]}, "with `shots: 0`; set shots, or remove the key"),
        (PROMPT, {"exemplars": {"choose": "first"}}, "with `shots: 0`; set shots, or remove the key"),
        (TRAIN, {"num_epochs": 2, "max_steps": 10}, "with max_steps, which takes precedence; keep one of the two"),
        (
            TRAIN,
            {"warmup_ratio": 0.1, "warmup_steps": 10},
            "with warmup_steps, which takes precedence; keep one of the two",
        ),
        (
            TRAIN,
            {"warmup_ratio": 0.1, "lr_scheduler": "constant"},
            "with `lr_scheduler: constant`; use constant_with_warmup",
        ),
        (
            TRAIN,
            {"warmup_steps": 10, "lr_scheduler": "constant"},
            "with `lr_scheduler: constant`; use constant_with_warmup",
        ),
        (TRAIN, {"early_stopping_patience": 2}, "without validation data; set val_set_size or val_datasets"),
        (TRAIN, {"eval_steps": 10}, "without validation data; set val_set_size or val_datasets"),
        (TRAIN, {"slurm": {"time": "1:00:00"}}, "without `launcher: slurm`; set it, or remove the section"),
        (
            TRAIN | {"launcher": "slurm", "slurm": {"nodes": 2}},
            {"num_machines": 2},
            "with `launcher: slurm`; set slurm.nodes, and remove the key",
        ),
        (TRAIN, {"wandb_entity": "team"}, "without wandb_project; set it, or remove the key"),
        (TRAIN, {"wandb_name": "run"}, "without wandb_project; set it, or remove the key"),
        (TRAIN, {"wandb_mode": "offline"}, "without wandb_project; set it, or remove the key"),
        (TRAIN, {"mlflow_experiment_name": "x"}, "without mlflow_tracking_uri; set it, or remove the key"),
    ],
)
def test_a_key_that_another_one_makes_ineffective_is_reported(given, changes, why):
    key = next(iter(changes))
    assert rule_findings(given, **changes) == [(key, f"{key} has no effect {why}")]


@pytest.mark.parametrize(
    ("given", "section", "keys", "found", "why"),
    [
        (
            PROMPT,
            "generation",
            {"temperature": 0.7},
            "temperature",
            "without `do_sample: true`; set it, or remove the key",
        ),
        (PROMPT, "generation", {"top_p": 0.9}, "top_p", "without `do_sample: true`; set it, or remove the key"),
        (
            PROMPT,
            "generation",
            {"length_penalty": 2.0},
            "length_penalty",
            "with one beam; set num_beams above 1, or remove the key",
        ),
        *(
            (ENDPOINT, "generation", {key: value}, key, "with an endpoint, whose server generates; remove it")
            for key, value in (("num_beams", 2), ("batch_size", 4), ("no_repeat_ngram_size", 3))
        ),
        (SHOTS, "exemplars", {"ids": ["x", "y"]}, "ids", "without `choose: ids`; set it, or remove ids"),
        (
            TRAIN | {"launcher": "slurm"},
            "slurm",
            {"gpu_type": "a100"},
            "gpu_type",
            "without gpus_per_node; set it, or remove the key",
        ),
    ],
)
def test_a_key_of_a_section_that_has_no_effect_is_reported(given, section, keys, found, why):
    assert rule_findings(given, **{section: keys}) == [(f"{section}.{found}", f"{found} has no effect {why}")]


def test_what_builtin_dialogues_cannot_have_is_not_skipped():
    builtin = [{"path": "a/b", "on_empty": "skip"}, {"path": "builtin/dialogues", "on_empty": "skip"}]
    found = rule_findings(TRAIN, datasets=builtin, test_datasets=[{"path": "builtin/dialogues", "on_empty": "error"}])
    why = "on_empty has no effect for builtin/dialogues, which has no empty rows; remove it"
    assert found == [("datasets.1.on_empty", why)]


@pytest.mark.parametrize(
    ("source", "found", "why"),
    [
        (
            {"type": "messages", "dialogue_field": "dialogue"},
            "dialogue_field",
            "with `type: messages`; name the column with messages_field",
        ),
        (
            {"type": "messages", "summary_field": ["a"]},
            "summary_field",
            "with `type: messages`; name the column with messages_field",
        ),
        ({"messages_field": "messages"}, "messages_field", "without `type: messages`; set it, or remove the key"),
        (
            {"path": "builtin/dialogues", "type": "messages"},
            "type",
            "for builtin/dialogues, which has columns; remove it",
        ),
    ],
)
@pytest.mark.parametrize("key", ["datasets", "test_datasets", "val_datasets"])
def test_a_key_that_the_type_of_a_data_set_does_not_read_is_reported(key, source, found, why):
    given = [
        {"path": "a/b", "type": "messages", "messages_field": "x"},
        {"path": "c/d"} | source,
    ]
    assert rule_findings(TRAIN, **{key: given}) == [(f"{key}.1.{found}", f"{found} has no effect {why}")]


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        (LORA, {"lora_r": 8, "peft_use_dora": True}),
        (TRAIN, {"val_set_size": 10, "early_stopping_patience": 2, "eval_steps": 10}),
        (TRAIN, {"val_set_size": 0.1, "eval_steps": 5, "save_steps": 10}),
        (TRAIN, {"max_steps": 10}),
        (TRAIN, {"warmup_steps": 10, "lr_scheduler": "constant_with_warmup"}),
        (TRAIN, {"wandb_project": "p", "wandb_entity": "e", "wandb_name": "n", "wandb_mode": "offline"}),
        (TRAIN, {"mlflow_tracking_uri": "u", "mlflow_experiment_name": "x"}),
        (TRAIN, {"launcher": "slurm", "slurm": {"time": "1:00:00", "gpus_per_node": 4, "gpu_type": "a100"}}),
        (PROMPT, {"generation": {"do_sample": True, "temperature": 0.7, "top_p": 0.9}}),
        (PROMPT, {"generation": {"num_beams": 4, "length_penalty": 2.0}}),
        (SHOTS, {"exemplars": {"choose": "ids", "ids": ["x", "y"]}}),
    ],
)
def test_keys_have_an_effect_together_with_the_keys_they_depend_on(given, changes):
    assert rule_findings(given, **changes) == []


@pytest.mark.parametrize(
    ("given", "key", "value", "why"),
    [
        (PROMPT, "learning_rate", 1e-4, "in `kind: prompt` (only `kind: train` reads it); remove it"),
        (TRAIN, "shots", 1, "in `kind: train` (only `kind: prompt` reads it); remove it"),
        (COMPARE, "seed", 1, "in `kind: compare` (only `kind: prompt` and `kind: train` read it); remove it"),
        (TRAIN, "recipes", ["a", "b"], "in `kind: train` (only `kind: compare` reads it); remove it"),
        (PROMPT, "baseline", "a", "in `kind: prompt` (only `kind: compare` reads it); remove it"),
    ],
)
def test_a_key_of_another_kind_is_reported(given, key, value, why):
    assert rule_findings(given, **{key: value}) == [(key, f"{key} has no effect {why}")]


def test_a_key_is_not_judged_if_the_key_it_depends_on_is_invalid():
    recipe = parse(TRAIN).recipe
    assert no_effect(("lora_r",), recipe) is not None
    assert no_effect(("lora_r",), recipe, wrong={"adapter"}) is None
    given = TRAIN | {"lora_r": 8, "launcher": "slurm"}
    assert list(rule_problems(given, parse(given).recipe, {"adapter", "slurm"})) == []


def test_evaluations_without_validation_data_have_no_effect():
    for key in ("early_stopping_patience", "eval_steps"):
        assert rule_findings(TRAIN, **{key: 2}) == [
            (key, f"{key} has no effect without validation data; set val_set_size or val_datasets")
        ]
    parsed = parse(TRAIN | {"eval_steps": 5, "val_datasets": 3})
    assert list(rule_problems({"eval_steps": 5}, parsed.recipe, parsed.wrong)) == []


def test_an_option_that_a_validation_data_set_does_not_read_is_reported():
    ((path, message),) = rule_findings(TRAIN, val_datasets=[{"path": "builtin/dialogues", "on_empty": "skip"}])
    assert path == "val_datasets.0.on_empty"
    assert "on_empty has no effect for builtin/dialogues" in message


def test_plain_text_has_no_columns_to_name():
    outputs = {"predictions": "theirs.txt", "id_field": "fname", "prediction_field": "text", "name": "x"}
    assert dict(rule_findings(COMPARE, recipes=["one.yaml", outputs])) == {
        f"recipes.1.{key}": f"{key} has no effect on plain text (got theirs.txt); remove it"
        for key in ("prediction_field", "id_field")
    }
    for name in ("theirs.csv", "theirs.JSONL", "theirs.parquet"):
        assert rule_findings(COMPARE, recipes=["one.yaml", outputs | {"predictions": name}]) == []
