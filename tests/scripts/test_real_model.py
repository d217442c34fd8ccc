"""The page of the real model has the results of every run of its comparison; its recipe is valid."""

import pytest
import yaml
from tiny_decoders import write_decoder
from tiny_inputs import write_rows

from scripts import real_model
from summtune.base import numbers
from summtune.plan.checking import check
from summtune.runs.finished import read_comparison

MEASURED = {"command": "python -m scripts.real_model", "machine": "2 cores of a CPU", "python": "3.11.2", "leaked": []}


@pytest.fixture
def data(tmp_path):
    """DialogSum's splits in small, as their files are."""
    rows = [
        {"fname": f"test_{n}", "dialogue": f"#Person1#: Hi {n}.", "summary1": "a", "summary2": "b", "summary3": "c"}
        for n in range(4)
    ]
    write_rows(tmp_path / "test.jsonl", rows)
    pairs = [{"fname": f"dev_{n}", "dialogue": f"#Person1#: Bye {n}.", "summary": "They part."} for n in range(80)]
    write_rows(tmp_path / "validation.jsonl", pairs)
    return tmp_path


def test_the_recipe_is_valid_with_published_outputs_as_systems(data):
    model = write_decoder(data / "model", "llama", max_position_embeddings=8192)
    (data / "theirs.txt").write_text("One.\nTwo.\nThree.\nFour.\n")
    recipe = real_model.comparison(model, data, [1, 2], [{"name": "Theirs", "predictions": str(data / "theirs.txt")}])
    (data / "compare.yaml").write_text(yaml.safe_dump(recipe))
    checked = check(data / "compare.yaml")
    names = [name for name, _ in checked.parts]
    assert names[:3] == ["Zero-shot", "One-shot", "Three-shot"]
    assert names[3:] == [*(f"{name}, seed {seed}" for name in real_model.GROUPS for seed in (1, 2)), "Theirs"]
    batches = {
        part.recipe.micro_batch_size * part.recipe.gradient_accumulation_steps
        for name, part in checked.parts
        if "seed" in name
    }
    assert batches == {8}


def test_the_page_has_the_scores_the_verdict_and_the_costs_of_each_run(compare_dir):
    files = read_comparison(compare_dir(("Zero-shot", "LoRA, seed 1")))
    page = real_model.page(files, MEASURED, pictured=True)
    for system in files.comparison.systems:
        score = system.metrics["rouge1"]
        shown = numbers.with_half_width("rouge1", score.value, score.ci_low, score.ci_high)
        assert f"| {system.name} | {shown} |" in page
    for sentence in files.comparison.verdict:
        assert f"- {sentence}" in " ".join(page.split())
    assert "](real_model.png)" in page
    assert "](real_model.png)" not in real_model.page(files, MEASURED, pictured=False)
    training = next(run.facts.training for run in files.runs if run.facts.training is not None)
    assert numbers.duration(training.seconds) in page
    assert "| LoRA | " in page, "the mean of its seeds"
    assert MEASURED["machine"] in page


@pytest.mark.parametrize("seed", [2, 3])
def test_the_page_compares_full_fine_tuning_and_lora_of_the_same_seed(compare_dir, seed):
    files = read_comparison(compare_dir(("Full fine-tuning, seed 2", f"LoRA, seed {seed}")))
    row = next(row for row in files.comparison.differences if row.metric == "rougeL")
    shown = numbers.difference_with_half_width("rougeL", row.difference, *row.interval)
    page = real_model.page(files, MEASURED, pictured=False)
    found = [line for line in page.splitlines() if line.startswith(f"| {row.a} − {row.b} | ")]
    assert len(found) == (1 if seed == 2 else 0)
    assert all(line.endswith(f"| {shown}, {numbers.p_value(row.p_adjusted)} |") for line in found)


def test_leaked_dialogues_are_found_and_the_page_has_the_scores_without_them(data, compare_dir):
    copied = "#Person1#: One two three four five six seven, is it not?"
    rows = [{"fname": f"test_{n}", "dialogue": text} for n, text in enumerate(["Something else here.", copied])]
    write_rows(data / "test.jsonl", rows)
    write_rows(data / "validation.jsonl", [{"fname": "dev_0", "dialogue": copied.upper()}])
    assert real_model.leaked(data) == ["test_1"]

    files = read_comparison(compare_dir(("Zero-shot", "LoRA, seed 1")))
    first, *others = files.runs[1].per_example
    page = real_model.page(files, MEASURED | {"leaked": [first]}, pictured=False)
    scores = [files.runs[1].per_example[id_]["rouge1"] for id_ in others]
    without = page.split("## Without leaked dialogues")[1]
    assert f"| LoRA, seed 1 | {100 * sum(scores) / len(scores):.1f} |" in without
    assert "Without leaked" not in real_model.page(files, MEASURED, pictured=False)
