"""The model in a plan: its family, its trained weights, and what is refused before anything starts."""

import json

import pytest
from made_up_recipes import begun_plan, made_up_plan, train_recipe

from summtune.base.errors import ModelError, RecipeError
from summtune.plan.checking import check
from summtune.plan.draft import begin
from summtune.plan.models import model_of, problems_of_model
from summtune.plan.plan import read_plan
from summtune.plan.resolve import resolve
from summtune.recipe.adapters import Lora, Quantization

BERT = {"model_type": "bert", "vocab_size": 100, "max_position_embeddings": 64}
HUB = "facebook/bart-base"


def write_config(folder, config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_folder_of_neither_family_is_refused_at_base_model_without_further_checks(project):
    write_config(project / "bert", BERT)
    path = project / "prompt_bert.yaml"
    path.write_text("kind: prompt\nbase_model: ./bert\nsequence_len: 9000\ntest_datasets: [{path: test.jsonl}]\n")
    with pytest.raises(RecipeError) as caught:
        check(path)
    ((line, column, message),) = [(each.line, each.column, each.message) for each in caught.value.problems]
    assert (line, column) == (2, 1)
    assert "(got model_type 'bert' in " in message
    assert "such as google/flan-t5-base" in message


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "bert", "is_encoder_decoder": False},
        {"model_type": "t5", "is_encoder_decoder": False},
        {"model_type": "whisper", "is_encoder_decoder": True},
    ],
    ids=lambda config: config["model_type"],
)
def test_a_model_that_does_not_read_and_write_text_is_refused(project, config):
    write_config(project / "other", config)
    with pytest.raises(
        RecipeError, match=rf"got model_type '{config['model_type']}' in .*; use one such as google/flan-t5-base"
    ):
        check(project / "train.yaml", ["base_model=./other"])


def test_the_plan_records_the_family_of_the_model(project, write_model):
    write_model(project / "bart", model_type="bart")
    for sets in ([], ["base_model=./bart"]):
        assert begun_plan(project / "train.yaml", sets, project / "run").model.family == "encoder_decoder"


def test_adapter_and_quantization_survive_writing_and_reading_a_plan(project, tmp_path):
    plan = begun_plan(project / "train.yaml", ["adapter=qlora", "lora_r=4"], project / "run")
    assert plan.adapter == Lora(r=4, alpha=32, dropout=0.05, targets=["q", "v"], dora=False, rslora=False)
    assert plan.quantization == Quantization()
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    assert read_plan(tmp_path) == plan
    without = begun_plan(project / "train.yaml", [], project / "run")
    assert (without.adapter, without.quantization) == (None, None)


def test_default_layers_are_in_the_plan_and_do_not_change_the_identity(project):
    write_config(project / "bart", {"model_type": "bart", "max_position_embeddings": 1024})
    (project / "bart" / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")  # without a tensor
    for base_model, layers in (("./model", ["q", "v"]), ("./bart", ["q_proj", "v_proj"])):
        sets = [f"base_model={base_model}", "adapter=lora"]
        left_out = resolve(project / "train.yaml", sets)
        written = resolve(project / "train.yaml", [*sets, f"lora_target_modules={json.dumps(layers)}"])
        other = resolve(project / "train.yaml", [*sets, "lora_target_modules=[k]"]) if layers[0] == "q" else None
        assert left_out.recipe.lora_target_modules == layers
        assert (left_out.identity, left_out.recipe) == (written.identity, written.recipe)
        assert other is None or other.identity != left_out.identity


def test_default_layers_that_do_not_fit_the_weights_are_reported_at_the_adapter_key(project, write_model):
    write_model(project / "odd", model_type="bart")
    path = project / "odd.yaml"
    path.write_text((project / "train.yaml").read_text().replace("./model", "./odd") + "adapter: lora\n")
    with pytest.raises(RecipeError, match=r"lists the ends of names of linear layers \(got 'q_proj'\)") as caught:
        check(path)
    line = path.read_text().splitlines().index("adapter: lora") + 1
    assert {(problem.line, problem.column) for problem in caught.value.problems} == {(line, 1)}


def test_default_layers_of_a_hub_model_are_known_once_it_is_downloaded(project, tmp_path):
    draft = resolve(project / "train.yaml", [f"base_model={HUB}", "adapter=lora"])
    assert (draft.model_folder, draft.parameters, draft.adapter.targets) == (None, None, [])
    folder = write_config(tmp_path / "bart", {"model_type": "bart", "decoder_start_token_id": 2})
    model = model_of(draft.recipe, folder, "abc", None)
    assert (model.folder, model.revision, model.family) == (str(folder), "abc", "encoder_decoder")
    plan = begin(draft, model, made_up_plan().data)
    assert plan.adapter.targets == plan.recipe.lora_target_modules == ["q_proj", "v_proj"]
    assert plan.identity == draft.identity


def test_a_hub_model_of_another_family_is_refused_once_it_is_downloaded(tmp_path):
    recipe = train_recipe(base_model="owner/bert", adapter="lora")
    folder = write_config(tmp_path / "bert", BERT)
    with pytest.raises(ModelError, match=r"got model_type 'bert' in .*; use one such as google/flan-t5-base"):
        model_of(recipe, folder, None, None)
    ((key, message),) = problems_of_model(recipe, folder)
    assert key == "base_model"
    assert "got model_type 'bert'" in message
