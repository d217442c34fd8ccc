"""The bundled recipes are valid, and plan what their comments promise."""

import json
import shutil

import pytest
from in_process import call

from summtune.base.places import package_path
from summtune.machine.devices import Gpu
from summtune.machine.fitting import room
from summtune.plan.checking import check
from summtune.plan.launch import Batch
from summtune.plan.preparation import count_pairs
from summtune.plan.resolve import resolve

RECIPES = sorted(package_path("recipes").rglob("*.yaml"))


@pytest.fixture(params=RECIPES, ids=lambda path: path.relative_to(package_path("recipes")).as_posix())
def path(request):
    return request.param


def test_a_bundled_recipe_has_no_problems(path):
    assert check(path).loaded.document.problems == []


def test_a_bundled_recipe_is_short_and_its_opening_comment_names_purpose_hardware_and_command(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 42
    assert lines[0].startswith("# yaml-language-server: $schema=")
    schema = path.parent / lines[0].split("=", 1)[1]
    assert schema.resolve() == (package_path("recipes") / "recipe.schema.json").resolve()
    opening = []
    for line in lines[1:]:
        if not line.startswith("#"):
            break
        opening.append(line)
    assert len(opening) >= 3
    assert any(line.startswith("# Hardware: ") for line in opening)
    name = path.relative_to(package_path("recipes")).as_posix()
    assert any(line.strip("# ").startswith(f"summtune run recipes/{name}") for line in opening)


@pytest.fixture
def one_cpu(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)


@pytest.mark.usefixtures("one_cpu")
def test_the_full_ft_recipe_trains_every_weight_with_zero_2():
    draft = resolve(package_path("recipes") / "full_ft.yaml")
    assert draft.parameters.total == draft.parameters.trainable == 247_577_856
    assert (draft.train.distribution, draft.train.zero_stage) == ("deepspeed", 2)
    assert [group.names for group in draft.stages] == [("train",), ("predict",), ("evaluate",), ("report",)]


@pytest.mark.usefixtures("one_cpu")
def test_the_lora_recipe_trains_1_41_percent_of_the_weights():
    draft = resolve(package_path("recipes") / "lora.yaml")
    assert (draft.parameters.trainable, draft.parameters.total) == (3_538_944, 251_116_800)
    assert round(100 * 3_538_944 / 251_116_800, 2) == 1.41
    assert draft.train.processes == 1


@pytest.mark.usefixtures("one_cpu")
def test_the_prompt_recipes_train_nothing_and_take_exemplars_from_the_train_split():
    for name, shots in (("zero_shot", 0), ("one_shot", 1), ("few_shot", 3)):
        draft = resolve(package_path("recipes") / f"{name}.yaml")
        assert (draft.recipe.shots, draft.parameters.trainable) == (shots, 0)
        assert [source.split for source in draft.recipe.test_datasets] == ["test"]
        assert [source.split for source in draft.recipe.datasets or ()] == ["train"] * (shots > 0)


@pytest.mark.usefixtures("one_cpu")
@pytest.mark.parametrize("name", ["compare", "compare_150"])
def test_the_comparison_recipes_compare_the_five_systems(name):
    comparison = resolve(package_path("recipes") / f"{name}.yaml")
    assert [name for name, _ in comparison.parts] == [
        "Original", "One-shot", "Few-shot", "Full fine-tuning", "LoRA",
    ]  # fmt: skip
    assert comparison.recipe.baseline == "Original"
    assert [part.recipe.kind for _, part in comparison.parts] == ["prompt"] * 3 + ["train"] * 2


@pytest.mark.usefixtures("one_cpu")
def test_smollm2_is_compared_with_itself_prompted_and_trained():
    comparison = resolve(package_path("recipes") / "smollm2-135m" / "compare.yaml")
    assert [name for name, _ in comparison.parts] == ["Original", "Few-shot", "LoRA", "Full fine-tuning"]
    counted = {name: (part.parameters.trainable, part.parameters.total) for name, part in comparison.parts}
    assert counted["Original"] == counted["Few-shot"] == (0, 134_515_008)
    assert counted["LoRA"] == (4_884_480, 139_399_488)
    assert counted["Full fine-tuning"] == (134_515_008, 134_515_008)


DECODERS = [
    path.relative_to(package_path("recipes")).as_posix()
    for folder in ("smollm2-135m", "qwen3-4b", "llama-3.1-8b")
    for path in sorted((package_path("recipes") / folder).iterdir())
]


@pytest.mark.parametrize("name", DECODERS)
def test_a_recipe_of_a_decoder_only_model_has_forty_lines_and_is_shown_without_its_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = package_path("recipes") / name
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    done = call("run", path, "--dry-run")
    assert (done.code, [*tmp_path.iterdir()]) == (0, []), done.stderr
    draft = resolve(path)
    parts = [part for _, part in draft.parts] if draft.recipe.kind == "compare" else [draft]
    assert all(part.parameters is not None for part in parts)
    assert all(f"{part.parameters.trainable:,}" in done.stdout for part in parts)


@pytest.mark.usefixtures("one_cpu")
def test_compare_150_trains_on_150_pairs(tmp_path, write_rows, write_model):
    train = write_rows(tmp_path / "train.jsonl", 400)
    test = write_rows(tmp_path / "test.jsonl", 3)
    model = write_model(tmp_path / "model")
    text = (package_path("recipes") / "compare_150.yaml").read_text(encoding="utf-8")
    assert text.rstrip().splitlines()[-1].startswith("  ")
    text = text.replace("recipe: ", f"recipe: {package_path('recipes')}/") + (
        f"  datasets.0.path: {train}\n  datasets.0.split: null\n"
        f"  test_datasets.0.path: {test}\n  test_datasets.0.split: null\n"
        f"  base_model: {model}\n"
    )
    (tmp_path / "compare_150.yaml").write_text(text, encoding="utf-8")
    parts = dict(resolve(tmp_path / "compare_150.yaml").parts)
    for name in ("Full fine-tuning", "LoRA"):
        recipe = parts[name].recipe
        assert count_pairs(recipe) == 150
        assert (recipe.val_set_size, recipe.num_epochs, recipe.datasets[0].limit) == (30, 10, 180)
        assert Batch.of(recipe, 1, 150).optimizer_steps == 190
    assert parts["Few-shot"].recipe.datasets[0].limit == 180
    assert parts["Original"].recipe.datasets is None


def test_a_copied_recipe_still_finds_its_bundled_deepspeed_config(tmp_path):
    shutil.copy(package_path("recipes") / "full_ft.yaml", tmp_path / "mine.yaml")
    recipe = check(tmp_path / "mine.yaml").recipe
    assert recipe.deepspeed == str(package_path("ds_configs/zero2.json"))
    (tmp_path / "ds_configs").mkdir()
    shutil.copy(package_path("ds_configs/zero1.json"), tmp_path / "ds_configs" / "zero2.json")
    recipe = check(tmp_path / "mine.yaml").recipe
    assert recipe.deepspeed == str(tmp_path / "ds_configs" / "zero2.json"), "a file next to the recipe takes precedence"


@pytest.mark.parametrize("config", sorted(package_path("ds_configs").glob("*.json")), ids=lambda path: path.name)
def test_a_bundled_deepspeed_config_matches_its_name(config):
    from summtune.deepspeed.configs import read_ds_config

    zero = read_ds_config(config)["zero_optimization"]
    assert zero["stage"] == int(config.stem.removeprefix("zero")[0])
    assert ("offload_optimizer" in zero) == ("offload" in config.stem)
    assert ("offload_param" in zero) == (config.stem == "zero3_offload")
    assert all(zero[key]["device"] == "cpu" for key in zero if key.startswith("offload_"))
    assert zero.get("stage3_gather_16bit_weights_on_model_save", False) == (zero["stage"] == 3)
    said = {key for key, value in json.loads(config.read_text()).items() if value not in ("auto", {"enabled": "auto"})}
    assert said == {"zero_optimization"}, "everything else comes from the recipe"


USED = {
    "flan-t5-large/full_ft.yaml": "zero1.json",
    "full_ft.yaml": "zero2.json",
    "flan-t5-xl/full_ft_offload.yaml": "zero2_offload.json",
    "flan-t5-xl/full_ft.yaml": "zero3.json",
    "flan-t5-xxl/full_ft.yaml": "zero3_offload.json",
}


def test_every_bundled_deepspeed_config_is_used_by_a_recipe():
    assert set(USED.values()) == {path.name for path in package_path("ds_configs").iterdir()}
    for name, config in USED.items():
        recipe = check(package_path("recipes") / name).recipe
        assert recipe.deepspeed == str(package_path("ds_configs") / config)


# Recipe, GPUs, and the memory of each in GiB that its opening comment names.
PROMISED = [
    ("flan-t5-large/full_ft.yaml", 1, 24),
    ("flan-t5-xl/full_ft.yaml", 2, 40),
    ("flan-t5-xl/full_ft.yaml", 1, 80),
    ("flan-t5-xl/full_ft_offload.yaml", 1, 24),
    ("flan-t5-xxl/full_ft.yaml", 1, 40),
    ("flan-t5-xxl/full_ft.yaml", 8, 40),
    ("flan-t5-xxl/lora.yaml", 1, 40),
    ("smollm2-135m/full_ft.yaml", 1, 16),
    ("smollm2-135m/lora.yaml", 1, 16),
    ("qwen3-4b/lora.yaml", 1, 16),
    ("qwen3-4b/qlora.yaml", 1, 12),
    ("llama-3.1-8b/qlora.yaml", 1, 16),
    ("llama-3.1-8b/full_ft.yaml", 8, 40),
    ("llama-3.1-8b/full_ft.yaml", 4, 80),
]


@pytest.mark.parametrize(("name", "gpus", "gib"), PROMISED)
def test_a_bundled_recipe_fits_the_hardware_that_it_names(monkeypatch, name, gpus, gib):
    seen = [Gpu("GPU", gib << 30, (8, 0))] * gpus
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: seen)
    draft = resolve(package_path("recipes") / name)
    assert draft.train.processes == gpus
    assert draft.memory.total <= room(gib << 30)
    opening = "".join((package_path("recipes") / name).read_text(encoding="utf-8").splitlines(keepends=True)[:4])
    assert f"{gib} GiB" in opening
    assert "by estimate" in opening
    assert f"{draft.parameters.trainable:,}" in opening


@pytest.mark.parametrize(
    ("name", "config", "gpus", "gib"),
    [
        ("flan-t5-xl/full_ft.yaml", "zero1", 2, 40),
        ("flan-t5-xxl/full_ft.yaml", "zero3", 8, 40),
        ("flan-t5-xxl/full_ft.yaml", "zero3", 4, 80),
    ],
)
def test_the_faster_config_that_a_recipe_names_fits_the_gpus_it_names(monkeypatch, name, config, gpus, gib):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: [Gpu("GPU", gib << 30, (8, 0))] * gpus)
    path = package_path("recipes") / name
    draft = resolve(path, [f"deepspeed=ds_configs/{config}.json"])
    assert draft.memory.total <= room(gib << 30)
    (said,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("deepspeed:")]
    assert f"{config}.json is faster, and fits" in said
    assert f"{gpus} GPUs of {gib} GiB" in said or f"{gpus} of {gib}" in said


def test_the_host_memory_that_a_recipe_names_is_what_deepspeed_needs(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", lambda: [Gpu("GPU", 40 << 30, (8, 0))])
    for name, gib in (("flan-t5-xl/full_ft_offload.yaml", 70), ("flan-t5-xxl/full_ft.yaml", 300)):
        path = package_path("recipes") / name
        assert 0.8 * gib < resolve(path).memory.host / 2**30 < gib
        assert f"{gib} GiB of host memory" in path.read_text(encoding="utf-8")
