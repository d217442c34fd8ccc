"""The recipe of the quickstart on fewer dialogues: it runs offline with bundled files, and it learns."""

import json
import os
import re
import subprocess

import pytest
from installed_command import command_path
from real_command import Finished

from summtune.base.files import read_json, read_jsonl
from summtune.base.places import package_path

SHORT = (
    *("--set", "overrides.datasets=[{path: builtin/dialogues, limit: 220}]"),
    *("--set", "overrides.test_datasets=[{path: builtin/dialogues, limit: 40}]"),
    *("--set", "overrides.num_epochs=3"),
)


def summtune(*arguments, cwd, **options):
    done = subprocess.run(
        [command_path(), *map(str, arguments)],
        cwd=cwd, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder in which the shortened quickstart was run."""
    folder = tmp_path_factory.mktemp("quickstart")
    summtune(
        *("run", package_path("recipes/quickstart.yaml"), "--output-dir", "run"),
        *SHORT,
        cwd=folder,
    )
    return folder


def test_five_systems_are_compared(folder):
    comparison = read_json(folder / "run" / "comparison.json")
    names = ["Original", "One-shot", "Few-shot", "Full fine-tuning", "LoRA"]
    assert [system["name"] for system in comparison["systems"]] == names
    assert (comparison["n"], comparison["baseline"]) == (40, "Original")
    trained = {system["name"]: system["trainable_parameters"] for system in comparison["systems"]}
    total = comparison["systems"][0]["total_parameters"]
    assert trained["Original"] == 0
    assert trained["Full fine-tuning"] == total
    assert 0 < trained["LoRA"] < total / 20
    assert "Full fine-tuning beats Original" in (folder / "run" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Full fine-tuning", "LoRA", "Few-shot"])
def test_training_and_exemplars_improve_the_scores(folder, name):
    differences = read_json(folder / "run" / "comparison.json")["differences"]
    (gain,) = [row for row in differences if (row["a"], row["b"], row["metric"]) == (name, "Original", "rouge1")]
    assert gain["difference"] > 0.05
    assert gain["ci_low"] > 0
    assert gain["p_value"] < 0.01


@pytest.mark.parametrize("name", ["few_shot", "full_ft", "lora"])
def test_a_finished_run_writes_the_same_summary_for_a_piped_dialogue(folder, name):
    (run_dir,) = (folder / "run" / "systems").glob(f"{name}-*")
    predicted = next(read_jsonl(run_dir / "predictions.jsonl"))
    said = summtune("summarize", run_dir, "--json", cwd=folder, input=predicted["dialogue"]).stdout
    assert json.loads(said) == {"dialogue": predicted["dialogue"], "summary": predicted["prediction"]}


def started(run_dir):
    """Return the stages that workers have started for the systems of a comparison."""
    return sorted(stage for system in (run_dir / "systems").iterdir() for stage in Finished(system).started)


@pytest.mark.slow
def test_other_generation_settings_train_nothing(folder):
    recipe = package_path("recipes/quickstart.yaml")
    said = summtune(
        *("run", recipe, "--output-dir", "beams", *SHORT, "--set", "overrides.generation.num_beams=2"), cwd=folder
    ).stderr
    assert started(folder / "run") == ["predict"] * 5 + ["train"] * 2
    assert started(folder / "beams") == ["predict"] * 5
    assert len(re.findall(r"train +reused from run/systems/", said)) == 2
    settings = [read_json(path) for path in (folder / "beams").glob("systems/*/model/generation_config.json")]
    assert [each["num_beams"] for each in settings] == [2, 2]


def test_another_protocol_starts_no_worker(folder):
    recipe = package_path("recipes/quickstart.yaml")
    said = summtune(
        *("run", recipe, "--output-dir", "plain", *SHORT, "--set", "evaluation.use_stemmer=false"), cwd=folder
    )
    assert started(folder / "plain") == []
    assert len(re.findall(r"predict +reused from run/systems/", said.stderr)) == 5
    before, after = (read_json(folder / run / "comparison.json")["systems"] for run in ("run", "plain"))
    for one, other in zip(before, after, strict=True):
        assert one["trainable_parameters"] == other["trainable_parameters"]
        made_by = {"generation_made_by", "training_made_by"} if one["kind"] == "train" else {"generation_made_by"}
        assert {name for name, value in one["cost"].items() if other["cost"][name] != value} == made_by
