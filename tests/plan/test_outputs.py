"""Files of outputs in a comparison: what is checked before a run, and what makes another run."""

import pytest

from summtune.base.errors import RecipeError
from summtune.plan.beginning import origin_now
from summtune.plan.checking import check
from summtune.plan.draft import ScoredDraft, complete_comparison
from summtune.plan.plan import ComparedOutputs, ComparedRun, ComparePlan
from summtune.plan.resolve import resolve


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)


@pytest.fixture
def comparison(project):
    """A comparison of a recipe with plain outputs; its entry may have further keys."""
    (project / "theirs.txt").write_text("A free room.\n" * 6)

    def write(entry="{name: Theirs, predictions: theirs.txt}", rest=""):
        (project / "both.yaml").write_text(f"kind: compare\nrecipes:\n  - prompt.yaml\n  - {entry}\n{rest}")
        return project / "both.yaml"

    return write


def scored(path, *sets, **options):
    (found,) = (part for _, part in resolve(path, sets, **options).parts if isinstance(part, ScoredDraft))
    return found


def test_outputs_are_scored_like_the_first_recipe_with_its_overrides(comparison, project):
    path = comparison(rest="overrides: {evaluation.references: max}\n")
    like = scored(path, "evaluation.bootstrap_samples=100").outputs.like
    assert (like.evaluation.references, like.evaluation.bootstrap_samples) == ("max", 100)
    assert like.test_datasets[0].path == str(project / "test.jsonl")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{predictions: nowhere.txt}", r"both.yaml:4:6: no such file or folder .*nowhere.txt"),
        ("{predictions: few.txt}", r"few.txt has 1 line, and .*test.jsonl has 6 dialogues"),
        ("{predictions: none.csv}", r"none.csv is empty"),
        ("{predictions: .}", r"predictions are a file \(got the folder"),
        ("{predictions: book.xlsx}", r"this format is not supported .*\.xlsx"),
        ("{predictions: own.jsonl, id_field: nr}", r"6 missing: test_0, .*6 foreign: 0 "),
    ],
)
def test_what_is_wrong_with_outputs_is_reported_with_their_position(comparison, project, entry, message):
    (project / "few.txt").write_text("One.\n")
    (project / "own.jsonl").write_text("".join(f'{{"nr": {n}, "prediction": "x"}}\n' for n in range(6)))
    for name in ("none.csv", "book.xlsx"):
        (project / name).touch()
    with pytest.raises(RecipeError, match=message):
        check(comparison(entry))


def test_outputs_and_recipes_are_reported_together(comparison, project):
    (project / "prompt.yaml").write_text("kind: prompt\nbase_modle: x\ntest_datasets: [{path: test.jsonl}]\n")
    with pytest.raises(RecipeError) as caught:
        check(comparison("{predictions: nowhere.txt}"))
    assert [problem.message.split(" (")[0] for problem in caught.value.problems] == [
        "unknown key 'base_modle', did you mean base_model?",
        "no such file or folder",
    ]


def test_test_data_on_the_hub_is_not_fetched_for_a_check(comparison, project, monkeypatch):
    monkeypatch.setattr("summtune.plan.outputs.read_dialogues", lambda *_: pytest.fail("it was fetched"))
    (project / "prompt.yaml").write_text("kind: prompt\nbase_model: ./model\ntest_datasets: [{path: owner/talks}]\n")
    assert scored(comparison()).outputs.like.test_datasets[0].path == "owner/talks"


def test_the_same_outputs_keep_their_directory_and_all_that_changes_scores_changes_it(comparison, project):
    path = comparison()
    first = scored(path)
    assert (first.run_dir.parent.name, first.run_dir.name) == ("outputs", f"theirs-{first.identity[:8]}")
    assert scored(path, output_dir=project / "x").run_dir == project / "x" / "systems" / first.run_dir.name
    assert scored(path, "seed=7").identity == first.identity
    others = {scored(path, *sets).identity for sets in (["evaluation.references=max"], ["recipes.1.name=Other"])}
    (project / "theirs.txt").write_text("A free table.\n" * 6)
    others.add(scored(path).identity)
    (project / "theirs.txt").write_text("A free room.\n" * 6)
    assert scored(path).identity == first.identity
    (project / "test.jsonl").write_text((project / "test.jsonl").read_text().replace("is free", "was free"))
    others.add(scored(path).identity)
    assert len(others - {first.identity}) == 4


def test_the_plan_of_a_comparison_tells_outputs_from_recipes(comparison):
    path = comparison()
    plan = complete_comparison(resolve(path), origin_now(path.parent))
    again = ComparePlan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert [type(system) for system in again.systems] == [ComparedRun, ComparedOutputs]
    assert again.systems[1].predictions == str(path.parent / "theirs.txt")


def test_an_assignment_of_plain_text_displaces_the_column_that_it_leaves_without_effect(comparison, project):
    (project / "theirs.jsonl").write_text("".join(f'{{"id": "test_{n}", "text": "x"}}\n' for n in range(6)))
    path = comparison("{predictions: theirs.jsonl, prediction_field: text}")
    checked = check(path, ["recipes.1.predictions=theirs.txt"])
    assert checked.recipe.recipes[1].prediction_field is None
    assert "displaces recipes.1.prediction_field" in checked.loaded.document.displaced[0]
