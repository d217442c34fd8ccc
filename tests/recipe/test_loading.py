"""A recipe file as a whole: all problems at once, each with its position, overrides included."""

from pathlib import Path

import pytest

from summtune.base.errors import InputError, RecipeError
from summtune.recipe.loading import load_recipe
from summtune.recipe.overriding import Overrides

TRAIN = """\
kind: train
base_model: google/flan-t5-base
datasets:
  - path: owner/talks
test_datasets:
  - path: owner/talks
learning_rate: 1e-4
"""
PROMPT = "kind: prompt\nbase_model: google/flan-t5-base\ntest_datasets: [{path: owner/talks}]\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def from_text(text, *sets, overrides=None, shared_overrides=None):
        (tmp_path / "a.yaml").write_text(text)
        return load_recipe(Path("a.yaml"), sets, Overrides(overrides or {}, shared_overrides or {}))

    return from_text


@pytest.fixture
def problems(load):
    def of(text, *sets, **overrides):
        with pytest.raises(RecipeError) as caught:
            load(text, *sets, **overrides)
        return str(caught.value).splitlines()

    return of


def test_a_valid_recipe_is_read_as_written(load):
    loaded = load(TRAIN)
    assert loaded.recipe.learning_rate == 1e-4
    assert loaded.recipe.datasets[0].path == "owner/talks"
    assert loaded.name == "a"
    assert loaded.path.is_absolute()


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(problems):
    text = """\
kind: train
base_model: google/flan-t5-base
learning_rte: 1e-4
datasets:
  - path: owner/talks
    splt: train
    limit: 0
test_datasets:
  - split: test
seed: 1
micro_batch_size: "8"
adapter: lroa
generation:
  num_beam: 4
  top_p: 1.5
seed: 2
bf16: perhaps
lora_r: 8
shots: 1
"""
    assert problems(text) == [
        "a.yaml:3:1: unknown key 'learning_rte', did you mean learning_rate?",
        "a.yaml:6:5: unknown key 'splt' in datasets.0, did you mean split?",
        "a.yaml:7:5: datasets.0.limit must be at least 1 (got 0)",
        "a.yaml:9:5: test_datasets.0.path is missing; add it",
        "a.yaml:11:1: micro_batch_size must be a whole number (got '8')",
        "a.yaml:12:1: adapter must be lora, qlora, ia3 or prompt_tuning (got 'lroa'), did you mean lora?",
        "a.yaml:14:3: unknown key 'num_beam' in generation, did you mean num_beams?",
        "a.yaml:15:3: generation.top_p must be at most 1.0 (got 1.5)",
        "a.yaml:16:1: duplicate key 'seed' (first on line 10); keep one of them",
        "a.yaml:17:1: bf16 must be true or false or auto (got 'perhaps')",
        "a.yaml:19:1: shots has no effect in `kind: train` (only `kind: prompt` reads it); remove it",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sede: 1", "unknown key 'sede', did you mean seed?"),
        ("zzzzz: 1", "unknown key 'zzzzz'; `summtune schema` lists every key"),
        ("batch_size: 1", "unknown key 'batch_size'; here it is called 'micro_batch_size'"),
        ("fp16: true", "unknown key 'fp16'; here it is called 'bf16'"),
        ("num_beams: 4", "unknown key 'num_beams'; here it is called 'generation.num_beams'"),
        ("5: 1", "unknown key '5'; `summtune schema` lists every key"),
        ("seed: one", "seed must be a whole number (got 'one')"),
        ("seed: null", "seed must be a whole number (got null)"),
        ("seed: 1.5", "seed must be a whole number (got 1.5)"),
        ("seed: true", "seed must be a whole number (got true)"),
        ("seed: -1", "seed must be at least 0 (got -1)"),
        ("seed: 4294967296", "seed must be below 4294967296 (got 4294967296)"),
        ("tf32: no", "tf32 must be true or false (got 'no')"),
        ("tf32: 1", "tf32 must be true or false (got 1)"),
        ("weight_decay: 1e-4x", "weight_decay must be a number (got '1e-4x')"),
        ("weight_decay: .NaN", "weight_decay must be a finite number (got nan)"),
        ("weight_decay: .inf", "weight_decay must be a finite number (got inf)"),
        ("max_grad_norm: 1e999", "max_grad_norm must be a finite number (got inf)"),
        ("num_epochs: 0", "num_epochs must be above 0 (got 0)"),
        ("weight_decay: 1", "weight_decay must be below 1.0 (got 1)"),
        ("prompt_template: ''", "prompt_template must have at least 1 character (got '')"),
        (
            "prompt_template: {dialogue}",
            "prompt_template must be text (got a section); quote text that contains braces, brackets or a colon",
        ),
        ("generation: 5", "generation must be a section of keys (got 5)"),
        ("generation: [num_beams]", "generation must be a section of keys (got a list)"),
        ("val_set_size: many", "val_set_size must be a whole number or a number (got 'many')"),
        ("base_mode: " + "x" * 5, "unknown key 'base_mode', did you mean base_model?"),
        (
            "optimizer: adamw",
            "optimizer must be adamw_torch_fused, adamw_torch, adafactor or sgd (got 'adamw'), "
            "did you mean adamw_torch?",
        ),
        ("seed: !!int x", "YAML tags are not allowed (got !!int); write a plain value"),
        (
            "wandb_project: " + "x" * 99 + "\nseed: 'y" + "y" * 99 + "'",
            "seed must be a whole number (got 'y" + "y" * 55 + "...)",
        ),
    ],
)
def test_one_mistake_is_reported_once_with_its_position(problems, line, message):
    number = 8 + line.count("\n")
    assert problems(TRAIN + line + "\n") == [f"a.yaml:{number}:1: {message}"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("evaluation: {metrics: []}", "evaluation.metrics must have at least 1 item (got 0)"),
        ("evaluation: {metrics: rouge1}", "evaluation.metrics must be a list (got 'rouge1')"),
        ("evaluation: {references: best}", "evaluation.references must be mean or max (got 'best')"),
    ],
)
def test_a_mistake_in_a_section_is_reported_with_its_column(problems, section, message):
    assert problems(TRAIN + section) == [f"a.yaml:8:14: {message}"]


@pytest.mark.parametrize(
    ("item", "column", "message"),
    [
        ("{path: a/b, dialog_field: x}", 15, "unknown key 'dialog_field' in datasets.0, did you mean dialogue_field?"),
        ("{path: 5}", 4, "datasets.0.path must be text (got 5)"),
        ("{path: ''}", 4, "datasets.0.path must have at least 1 character (got '')"),
        ("{split: train}", 3, "datasets.0.path is missing; add it"),
        ("owner/talks", 3, "datasets.0 must be a section of keys (got 'owner/talks')"),
        ("{path: a/b, summary_field: 5}", 15, "datasets.0.summary_field must be text or a list (got 5)"),
        ("{path: a/b, summary_field: [s, 5]}", 34, "datasets.0.summary_field.1 must be text (got 5)"),
        ("{path: a/b, path: c/d}", 15, "duplicate key 'path' (first on line 4); keep one of them"),
    ],
)
def test_a_mistake_in_a_list_item_is_reported_with_its_column(problems, item, column, message):
    text = TRAIN.replace("  - path: owner/talks", f"- {item}", 1)
    assert problems(text) == [f"a.yaml:4:{column}: {message}"]


@pytest.mark.parametrize(
    ("entry", "column", "message"),
    [
        ("{recipe: b.yaml, nmae: x}", 28, "unknown key 'nmae' in recipes.1, did you mean name?"),
        ("{name: x}", 11, "recipes.1 names no system; give `recipe`, or `predictions` for a file of outputs"),
        ("5", 11, "recipes.1 must be text or a section of keys (got 5)"),
    ],
)
def test_a_mistake_in_a_compared_recipe_is_reported_once(problems, entry, column, message):
    line = f"recipes: [{'a.yaml'}, {entry}]"
    column = line.index(entry) + (1 if column == 11 else 1 + entry.index("nmae"))
    assert problems(f"kind: compare\n{line}\n") == [f"a.yaml:2:{column}: {message}"]


def test_a_missing_or_invalid_kind_does_not_hide_other_problems(problems):
    assert problems("base_model: a/b\nsede: 1\n") == [
        "a.yaml:1:1: kind is missing; add it",
        "a.yaml:2:1: unknown key 'sede', did you mean seed?",
    ]
    assert problems("kind: trian\nsede: 1\n") == [
        "a.yaml:1:1: kind must be prompt, train or compare (got 'trian'), did you mean train?",
        "a.yaml:2:1: unknown key 'sede', did you mean seed?",
    ]


def test_a_misspelt_key_is_not_also_reported_as_missing(problems):
    assert problems(TRAIN.replace("base_model", "base_modle")) == [
        "a.yaml:2:1: unknown key 'base_modle', did you mean base_model?"
    ]
    assert problems(TRAIN.replace("learning_rate", "lr")) == [
        "a.yaml:7:1: unknown key 'lr'; here it is called 'learning_rate'"
    ]


@pytest.mark.parametrize("wrong", ["adapter: lroa", "adaptor: lora", "adapter: [lora]"])
def test_keys_that_depend_on_an_invalid_key_are_not_judged(problems, wrong):
    (problem,) = problems(TRAIN + wrong + "\nlora_r: 8\nlora_alpha: 16\n")
    assert problem.startswith("a.yaml:8:1: ")


@pytest.mark.parametrize(("text", "kind"), [("- kind: train\n", "list"), ("train\n", "str"), ("5\n", "int")])
def test_a_recipe_that_is_not_a_mapping_is_refused(problems, text, kind):
    assert problems(text) == [f"a.yaml:1:1: a recipe is a mapping of keys (got a {kind}); start with `kind: train`"]


def test_all_missing_keys_are_reported(problems):
    lines = problems("kind: train\n")
    assert [line.split(",")[0] for line in lines] == [
        f"a.yaml:1:1: {key} is missing" for key in ("base_model", "datasets", "test_datasets", "learning_rate")
    ]


def test_assignments_go_through_the_same_checks(load, problems):
    recipe = load(
        TRAIN, "seed=7", "datasets.0.limit=32", "generation.num_beams=4", "adapter=lora", "lora_target_modules=[q]",
        "learning_rate=1e-3",
    ).recipe  # fmt: skip
    assert (recipe.seed, recipe.datasets[0].limit, recipe.generation.num_beams) == (7, 32, 4)
    assert (recipe.lora_target_modules, recipe.learning_rate) == (["q"], 1e-3)
    assert problems(
        TRAIN + "tf32: 1\n", "seed=x", "sede=1", "datasets.0.lmit=3", "lora_r=8", "generation.top_p=0.5"
    ) == [
        "a.yaml:8:1: tf32 must be true or false (got 1)",
        "--set seed=x: seed must be a whole number (got 'x')",
        "--set datasets.0.lmit=3: unknown key 'lmit' in datasets.0, did you mean limit?",
        "--set sede=1: unknown key 'sede', did you mean seed?",
        "--set lora_r=8: lora_r has no effect without `adapter: lora`; add the adapter or remove the key",
        "--set generation.top_p=0.5: top_p has no effect without `do_sample: true`; set it, or remove the key",
    ]


def test_the_last_assignment_of_a_key_wins(load):
    assert load(TRAIN, "seed=1", "seed=2").recipe.seed == 2


def test_an_assignment_of_null_removes_the_key(load, problems):
    recipe = load(TRAIN + "seed: 1\ngeneration: {num_beams: 4}\n", "seed=null", "generation.num_beams=null").recipe
    assert (recipe.seed, recipe.generation.num_beams) == (42, 1)
    assert load(TRAIN, "lora_r=null").recipe == load(TRAIN).recipe
    (problem,) = problems(TRAIN, "learning_rate=null")
    assert problem.startswith("a.yaml:1:1: learning_rate is missing")


@pytest.mark.parametrize(
    ("assignment", "match"),
    [
        ("seed", r"--set takes key=value \(got 'seed'\); for instance --set seed=7"),
        ("=7", r"--set takes key=value \(got '=7'\)"),
        ("seed=[1", r"--set seed: not a YAML value \(got '\[1'"),
        (
            "datasets.9.limit=3",
            r"--set datasets.9.limit=3: the list has no such item \(got datasets.9, length 1\)",
        ),
        ("base_model.x=3", r"--set base_model.x=3: not inside a section or a list \(got base_model.x\)"),
        ("sede=null", r"--set sede=null: unknown key 'sede', did you mean seed\?"),
        ("generation.num_beam=null", r"unknown key 'num_beam' in generation, did you mean num_beams\?"),
    ],
)
def test_an_invalid_assignment_is_reported(load, assignment, match):
    with pytest.raises(InputError, match=match):
        load(TRAIN, assignment)


@pytest.mark.parametrize(
    "assignment", ["seed.x=1", "x.y=1", "0=5", "a..b=1", "=", "datasets=5", "datasets.0.limit.x=1"]
)
def test_an_assignment_with_an_odd_path_is_reported_under_set(load, assignment):
    with pytest.raises(InputError, match=r"^--set "):
        load(TRAIN, assignment)


def test_shared_overrides_apply_only_to_recipes_that_read_them(load):
    shared = {"lora_r": 8, "learning_rate": 5e-4, "seed": 7, "shots": 2, "generation.num_beams": 4}
    full = load(TRAIN, shared_overrides=shared)
    assert (full.recipe.seed, full.recipe.learning_rate, full.recipe.generation.num_beams) == (7, 5e-4, 4)
    assert set(full.document.overridden) == {("learning_rate",), ("seed",), ("generation", "num_beams")}
    assert load(TRAIN + "adapter: lora\n", shared_overrides=shared).recipe.lora_r == 8
    prompted = load(PROMPT, shared_overrides={"datasets.0.limit": 5, "num_epochs": 1, "generation.length_penalty": 2.0})
    assert prompted.document.overridden == []


@pytest.mark.parametrize("order", [1, -1])
def test_shared_overrides_apply_regardless_of_their_order(load, order):
    shared = dict([("lora_r", 8), ("adapter", "lora")][::order])
    assert load(TRAIN, shared_overrides=shared).recipe.lora_r == 8


def test_an_unknown_shared_override_is_reported(problems, load):
    assert problems(TRAIN, shared_overrides={"sede": 7}) == [
        "override sede of a.yaml: unknown key 'sede', did you mean seed?"
    ]
    assert load(TRAIN, shared_overrides={"seed": None}).document.overridden == []
    with pytest.raises(InputError, match=r"override sede of a.yaml: unknown key 'sede', did you mean seed\?"):
        load(TRAIN, shared_overrides={"sede": None})


def test_an_invalid_value_of_a_shared_override_is_reported(problems):
    assert problems(TRAIN, shared_overrides={"seed": "x"}) == [
        "override seed of a.yaml: seed must be a whole number (got 'x')"
    ]


def test_a_null_override_removes_a_key(load):
    text = TRAIN + "val_set_size: 5\nearly_stopping_patience: 2\n"
    loaded = load(text, shared_overrides={"early_stopping_patience": None, "deepspeed": None})
    assert loaded.recipe.early_stopping_patience is None
    assert loaded.document.overridden == [("early_stopping_patience",)]


def test_an_override_that_its_recipe_does_not_read_is_an_error(load, problems):
    assert load(TRAIN, overrides={"seed": 7}).recipe.seed == 7
    assert problems(TRAIN, overrides={"lora_r": 8}) == [
        "override lora_r of a.yaml: lora_r has no effect without `adapter: lora`; add the adapter or remove the key"
    ]


def test_assignments_win_over_a_recipes_own_overrides_which_win_over_shared_ones(load):
    loaded = load(TRAIN, overrides={"seed": 7}, shared_overrides={"seed": 8, "sequence_len": 64})
    assert (loaded.recipe.seed, loaded.recipe.sequence_len) == (7, 64)
    assert load(TRAIN, "seed=9", overrides={"seed": 7}, shared_overrides={"seed": 8}).recipe.seed == 9


def test_an_own_override_can_make_the_recipe_read_a_shared_one(load):
    loaded = load(TRAIN, overrides={"adapter": "lora"}, shared_overrides={"lora_r": 8})
    assert loaded.recipe.lora_r == 8
