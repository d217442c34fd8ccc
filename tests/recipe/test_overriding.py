"""What outranks the file: overrides of a comparison, then --set; and which keys give way."""

import pytest

from summtune.base.errors import InputError, RecipeError
from summtune.recipe.loading import load_document, load_recipe
from summtune.recipe.overriding import Overrides, Setting
from summtune.recipe.yaml_reader import read_yaml

TRAIN = """\
kind: train
base_model: builtin/flan-t5-nano
datasets: [{path: builtin/dialogues, limit: 20}]
test_datasets: [{path: builtin/dialogues}]
learning_rate: 1e-3
"""
PROMPT = """\
kind: prompt
base_model: builtin/flan-t5-nano
test_datasets: [{path: builtin/dialogues}]
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a recipe from text under ``--set`` assignments and the overrides of a comparison."""
    monkeypatch.chdir(tmp_path)

    def call(text, *sets, own=None, shared=None, routed=()):
        path = tmp_path / "a.yaml"
        path.write_text(text)
        overrides = Overrides(own or {}, shared or {}, tmp_path, [Setting.parse(each) for each in routed])
        return load_recipe(path.relative_to(tmp_path), sets, overrides)

    return call


def problems_of(load, *arguments, **more):
    with pytest.raises(RecipeError) as caught:
        load(*arguments, **more)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "assignment", "displaced", "same_as"),
    [
        (TRAIN + "num_epochs: 2\n", "max_steps=5", ["num_epochs of a.yaml:6"], "max_steps: 5\n"),
        (TRAIN + "max_steps: 5\n", "num_epochs=2", ["max_steps of a.yaml:6"], "num_epochs: 2\n"),
        (TRAIN + "warmup_ratio: 0.1\n", "warmup_steps=5", ["warmup_ratio of a.yaml:6"], "warmup_steps: 5\n"),
        (TRAIN + "warmup_steps: 5\n", "warmup_ratio=0.1", ["warmup_steps of a.yaml:6"], "warmup_ratio: 0.1\n"),
        (
            TRAIN + "warmup_steps: 5\n",
            "lr_scheduler=constant",
            ["warmup_steps of a.yaml:6"],
            "lr_scheduler: constant\n",
        ),
        (
            TRAIN + "val_set_size: 5\neval_steps: 2\nearly_stopping_patience: 3\n",
            "val_set_size=0",
            ["eval_steps of a.yaml:7", "early_stopping_patience of a.yaml:8"],
            "",
        ),
        (
            TRAIN + "val_set_size: 5\neval_steps: 2\n",
            "val_datasets=[{path: x}]",
            ["val_set_size of a.yaml:6"],
            "val_datasets: [{path: x}]\neval_steps: 2\n",
        ),
        (
            TRAIN + "val_datasets: [{path: x}]\n",
            "val_set_size=5",
            ["val_datasets of a.yaml:6"],
            "val_set_size: 5\n",
        ),
        (TRAIN + "adapter: lora\nlora_r: 8\n", "adapter=null", ["lora_r of a.yaml:7"], ""),
        (
            TRAIN + "wandb_project: x\nwandb_name: y\n",
            "wandb_project=null",
            ["wandb_name of a.yaml:7"],
            "",
        ),
        (TRAIN + "launcher: slurm\nslurm: {nodes: 2}\n", "launcher=local", ["slurm of a.yaml:7"], ""),
        (
            PROMPT + "generation: {num_beams: 4, length_penalty: 2.0}\n",
            "generation.num_beams=1",
            ["generation.length_penalty of a.yaml:4"],
            "",
        ),
        (
            PROMPT + "evaluation: {metrics: [rouge1, bleu], metric_arguments: {bleu: {smooth: true}}}\n",
            "evaluation.metrics=[rouge1]",
            ["evaluation.metric_arguments.bleu of a.yaml:4"],
            "evaluation: {metrics: [rouge1]}\n",
        ),
        (
            PROMPT + "evaluation: {tokenizer: unicode}\n",
            "evaluation.metrics=[bleu]",
            ["evaluation.tokenizer of a.yaml:4"],
            "evaluation: {metrics: [bleu]}\n",
        ),
        (
            PROMPT + "shots: 2\ndatasets: [{path: builtin/dialogues}]\nexemplars: {choose: first}\n",
            "shots=0",
            ["datasets of a.yaml:5", "exemplars of a.yaml:6"],
            "",
        ),
        (
            PROMPT.replace("test_datasets: [{path: builtin/dialogues}]", "test_datasets: [{path: x, on_empty: skip}]"),
            "test_datasets.0.path=builtin/dialogues",
            ["test_datasets.0.on_empty of a.yaml:3"],
            None,
        ),
    ],
)
def test_an_assignment_displaces_the_keys_of_the_file_that_it_leaves_without_effect(
    load, text, assignment, displaced, same_as
):
    loaded = load(text, assignment)
    assert loaded.document.displaced == [f"--set {assignment} displaces {each}" for each in displaced]
    if same_as is not None:
        assert loaded.recipe == load(text.splitlines(keepends=True)[0] + "".join(base_of(text)) + same_as).recipe


def base_of(text):
    return (TRAIN if text.startswith("kind: train") else PROMPT).splitlines(keepends=True)[1:]


def test_a_launcher_displaces_the_machines_of_the_other(load):
    loaded = load(TRAIN + "num_machines: 2\n", "launcher=slurm", "slurm={nodes: 1}")
    assert loaded.document.displaced == ["--set launcher=slurm displaces num_machines of a.yaml:6"]


def test_two_assignments_that_contradict_each_other_are_an_error(load):
    (problem,) = problems_of(load, TRAIN + "num_epochs: 2\n", "max_steps=5", "num_epochs=3")
    assert problem.startswith("--set num_epochs=3: num_epochs has no effect with max_steps")
    assert load(TRAIN, "launcher=slurm", "slurm.nodes=2").document.displaced == []
    found = problems_of(load, TRAIN + "launcher: slurm\nslurm: {nodes: 2}\n", "launcher=local", "slurm.nodes=3")
    assert "slurm has no effect without `launcher: slurm`" in found[0]


def test_a_contradiction_within_the_file_stays_an_error(load):
    text = TRAIN + "num_epochs: 2\nmax_steps: 5\neval_steps: 3\n"
    found = problems_of(load, text, "max_steps=7")
    assert [problem.split(":")[1] for problem in found] == ["6", "8"]
    assert "num_epochs has no effect" in found[0]
    assert "eval_steps has no effect" in found[1]
    assert load(text, "max_steps=null", "val_set_size=5").document.displaced == []


def test_an_assignment_that_needs_another_key_displaces_nothing(load):
    (problem,) = problems_of(load, TRAIN, "lora_r=8")
    assert problem.startswith("--set lora_r=8: lora_r has no effect without `adapter: lora`")
    (problem,) = problems_of(load, TRAIN, "early_stopping_patience=2")
    assert "early_stopping_patience has no effect without" in problem


def test_nothing_is_displaced_where_the_recipe_cannot_be_read(load):
    found = problems_of(load, TRAIN + "num_epochs: 2\n", "max_steps=many")
    assert any("max_steps must be a whole number" in problem for problem in found)


def test_a_file_loses_to_overrides_which_lose_to_assignments(load):
    text = TRAIN + "num_epochs: 2\n"
    loaded = load(text, own={"max_steps": 5}, shared={"num_epochs": 3})
    assert loaded.recipe.max_steps == 5
    assert loaded.document.displaced == ["override max_steps of a.yaml displaces num_epochs of a.yaml:6"]
    loaded = load(TRAIN + "max_steps: 9\n", shared={"num_epochs": 3})
    assert (loaded.recipe.max_steps, loaded.recipe.num_epochs) == (None, 3)
    assert loaded.document.displaced == ["override num_epochs of a.yaml displaces max_steps of a.yaml:6"]
    loaded = load(text, "num_epochs=4", own={"max_steps": 5})
    assert (loaded.recipe.max_steps, loaded.recipe.num_epochs) == (None, 4)
    assert loaded.document.displaced[1:] == ["--set num_epochs=4 displaces max_steps (override max_steps of a.yaml)"]


def test_an_assignment_of_a_comparison_reaches_a_recipe_that_reads_it(load):
    loaded = load(TRAIN + "seed: 1\n", own={"seed": 2}, shared={"seed": 3}, routed=["seed=7", "shots=2", "lora_r=4"])
    assert loaded.recipe.seed == 7
    assert loaded.document.overridden[-1] == ("seed",)
    assert ("lora_r",) not in loaded.document.overridden
    assert load(TRAIN, own={"adapter": "lora"}, routed=["lora_r=4"]).recipe.lora_r == 4
    loaded = load(TRAIN + "num_epochs: 2\n", routed=["max_steps=5"])
    assert loaded.document.displaced == ["--set max_steps=5 displaces num_epochs of a.yaml:6"]


def test_a_price_from_outside_reaches_the_recipes_whose_devices_have_one(load):
    priced = load(TRAIN, shared={"price.device_hour": 2.5}, routed=["price.currency=EUR"]).recipe
    assert (priced.price.device_hour, priced.price.currency) == (2.5, "EUR")
    assert (
        load(PROMPT + "price: {device_hour: 2, currency: EUR}\n", "price.device_hour=3").recipe.price.currency == "EUR"
    )
    served = PROMPT.replace("base_model: builtin/flan-t5-nano", "endpoint: {url: 'http://localhost/v1', model: m}")
    assert load(served, shared={"price.device_hour": 2.5}, routed=["price.currency=EUR"]).document.overridden == []


def test_a_price_without_its_amount_or_in_another_spelling_is_refused(load):
    assert problems_of(load, TRAIN, "price.currency=eur") == [
        "--set price.currency=eur: price.device_hour is missing; add it",
        "--set price.currency=eur: price.currency must be three capital letters, such as USD (got 'eur')",
    ]


def test_the_document_that_is_given_stays_as_it_is(tmp_path):
    document = read_yaml(TRAIN + "num_epochs: 2\n", "a.yaml")
    load_document(document, tmp_path / "a.yaml", ["max_steps=5"])
    assert document.value["num_epochs"] == 2
    assert document.overridden == []


@pytest.mark.parametrize("assignment", ["=", "=3", "seed"])
def test_what_is_not_an_assignment_is_refused(assignment):
    with pytest.raises(InputError, match=r"--set takes key=value \(got"):
        Setting.parse(assignment)


def test_another_kind_is_named_as_the_cause_among_several_assignments(load):
    loaded = load(TRAIN, "base_model=builtin/flan-t5-nano", "kind=prompt")
    assert loaded.document.displaced[0] == "--set kind=prompt displaces datasets of a.yaml:3"
