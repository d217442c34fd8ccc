from summtune.base.files import read_json, write_json
from summtune.report.details import comparison_details, hours_title, run_details, system_description
from summtune.runs.finished import read_comparison, read_run
from summtune.runs.supervision import SUPERVISION_FILE, EndToken, SupervisedRole, Supervision


def change_plan(folder, **changes):
    write_json(folder / "plan.json", read_json(folder / "plan.json") | changes)
    return read_run(folder)


def test_the_details_of_a_trained_run_include_data_batch_and_time(run_dir):
    run = change_plan(
        run_dir("lora", kind="train"),
        data={
            "validation": {"dialogues": 40, "sources": [{"path": "val.csv"}]},
            "test": {
                "dialogues": 200,
                "sources": [{"path": "builtin/dialogues", "split": "test"}, {"path": "x.csv", "skipped_rows": 3}],
            },
        },
        batch={"micro_batch_size": 8, "global_batch": 16},
    )
    entries = dict(run_details("LoRA", run).entries)
    assert entries["Kind"] == "google/flan-t5-base, fine-tuned (lora)"
    assert entries["Trainable parameters"] == "3,538,944 (1.41 %)"
    assert entries["Test data"] == "builtin/dialogues (test), x.csv: 200 dialogues; empty rows skipped: 3"
    assert entries["Validation data"] == "val.csv: 40 dialogues"
    assert entries["Batch"] == "micro batch size 8, global batch 16"
    assert entries["Training time"] == "12 min 05 s"
    assert "Training data" not in entries


def test_what_was_checked_of_the_examples_is_one_line(run_dir):
    folder = run_dir("lora", kind="train")
    assert "Supervision" not in dict(run_details("LoRA", read_run(folder)).entries)
    role = SupervisedRole(
        examples=1200,
        trained_tokens=34567,
        longest_prompt=500,
        longest_completion=60,
        cut_dialogues=0,
        prompts_encoded_again=256,
    )
    found = Supervision(
        template="chat_template.jinja",
        template_sha256="0" * 64,
        ends=(EndToken(id=2, text="<|im_end|>"),),
        checks=("one_bos", "not_cut"),
        roles={"train": role, "validation": role},
    )
    write_json(folder / SUPERVISION_FILE, found.to_json())
    entries = dict(run_details("LoRA", read_run(folder)).entries)
    assert entries["Supervision"] == (
        "1,200 train and 1,200 validation examples passed 2 checks (512 prompts were encoded twice): prompts by "
        "chat_template.jinja, 34,567 tokens trained on, summaries end with <|im_end|>"
    )
    assert entries["Stopped by itself"] == "63 of 64 validation dialogues"


def test_details_include_the_recipe_as_given_and_as_resolved(run_dir):
    details = run_details("zero-shot", read_run(run_dir()))
    assert details.given.startswith("# <what a person wrote>\n")
    assert "prompt_template: |-" in details.recipe


def test_external_predictions_are_described_without_a_model(run_dir):
    run = change_plan(run_dir(), kind="scored", recipe={})
    assert system_description(run) == "External predictions"


def test_hours_are_gpu_hours_only_if_all_runs_used_gpus(run_dir):
    launch = {"processes": 1, "device": "cuda"}
    gpu = change_plan(run_dir("gpu"), train=launch, predict=launch)
    cpu = change_plan(run_dir("cpu"), train=launch | {"device": "cpu"})
    assert hours_title([gpu]) == "GPU-hours"
    assert hours_title([gpu, cpu]) == "Device-hours"
    assert hours_title([read_run(run_dir("none"))]) == "Device-hours"


def test_only_a_comparison_with_a_recipe_has_details(compare_dir):
    folder = compare_dir()
    assert comparison_details(read_comparison(folder)) is None
    write_json(
        folder / "plan.json",
        {
            "format": 2,
            "name": "story",
            "kind": "compare",
            "recipe": {"kind": "compare"},
            "versions": {"torch": "2.13.0"},
        },
    )
    (folder / "recipe.yaml").write_text("kind: compare\n", encoding="utf-8")
    details = comparison_details(read_comparison(folder))
    assert (details.name, details.given, details.recipe) == ("story", "kind: compare\n", "kind: compare\n")
    assert dict(details.entries) == {"Kind": "comparison of 2 systems"}
