"""An experiment keeps its identity on any machine and layout; another experiment has another identity."""

import json
import shutil

import pytest
from tiny_decoders import CHAT_TEMPLATE

from summtune.base.hashing import hash_of
from summtune.base.places import package_path
from summtune.plan import keys as keys_module
from summtune.plan.keys import FIRST_READ_BY
from summtune.plan.resolve import resolve
from summtune.recipe.keys import EXECUTION, EndpointRecipe, PromptRecipe, TrainRecipe


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.visible_gpus", list)


def identity(project, *sets, name="train.yaml"):
    return resolve(project / name, sets).identity


@pytest.mark.parametrize(
    "sets",
    [
        ("micro_batch_size=2", "gradient_accumulation_steps=4"),
        ("micro_batch_size=4", "num_processes=2"),
        ("micro_batch_size=1", "gradient_accumulation_steps=4", "num_processes=2"),
        ("deepspeed=ds_configs/zero2.json",),
        ("deepspeed=ds_configs/zero3.json", "num_processes=2", "micro_batch_size=4"),
        ("logging_steps=1",),
        ("save_steps=3", "save_total_limit=7"),
        ("gradient_checkpointing=true",),
        ("output_dir=elsewhere",),
        ("price.device_hour=2.5", "price.currency=EUR"),
        ("seed=42", "generation.num_beams=1", "evaluation.tokenizer=rouge"),
        ("datasets.0.type=columns",),
        ("chat_template=auto", "system_prompt=null", "chat_template_kwargs={}", "generation.stop=null"),
    ],
)
def test_layout_logging_and_explicit_defaults_do_not_change_the_identity(project, sets):
    assert identity(project, *sets) == identity(project)


@pytest.mark.parametrize(
    "setting",
    [
        "seed=7", "micro_batch_size=4", "num_processes=2", "learning_rate=2e-3", "num_epochs=4", "adapter=lora",
        "generation.num_beams=2", "evaluation.use_stemmer=false", "evaluation.tokenizer=unicode",
        "datasets.0.limit=5", "val_set_size=2",
        "datasets.0.type=messages",
        "prompt_template=plain", "bf16=false", "sequence_len=256",
    ],
)  # fmt: skip
def test_a_key_that_can_change_the_result_changes_the_identity(project, setting):
    assert identity(project, setting) != identity(project)


def test_name_and_comments_of_the_recipe_do_not_change_the_identity(project):
    text = (project / "train.yaml").read_text()
    (project / "other.yaml").write_text("# the same\n" + "\n".join(reversed(text.splitlines())) + "\n")
    assert identity(project, name="other.yaml") == identity(project)


def test_the_same_content_under_another_path_has_the_same_identity(project, tmp_path):
    before = identity(project)
    shutil.copytree(project, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    assert identity(tmp_path / "moved") == before


@pytest.mark.parametrize("name", ["train.jsonl", "test.jsonl", "model/config.json", "model/model.safetensors"])
def test_changed_content_changes_the_identity(project, name):
    before = identity(project)
    path = project / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"12", b"13") if name != "train.jsonl" else content.replace(b"free", b"here"))
    if name == "model/model.safetensors":
        path.write_bytes(content + b"\x00")
    if name == "test.jsonl":
        path.write_bytes(content.replace(b"test 1", b"test one"))
    assert path.read_bytes() != content
    assert identity(project) != before


def test_the_number_of_processes_does_not_change_the_identity_of_a_prompt(project):
    assert identity(project, "num_processes=2", name="prompt.yaml") == identity(project, name="prompt.yaml")


def test_systems_and_baseline_determine_the_identity_of_a_comparison(project):
    before = identity(project, name="both.yaml")
    assert identity(project, "baseline=train", name="both.yaml") != before
    assert identity(project, "overrides={seed: 7}", name="both.yaml") != before
    assert identity(project, "overrides={logging_steps: 7}", name="both.yaml") == before


def test_hub_data_and_models_are_identified_by_name_and_revision():
    path = package_path("recipes") / "zero_shot.yaml"
    before = resolve(path).identity
    assert resolve(path, ["base_model=google/flan-t5-small"]).identity != before
    assert resolve(path, ["revision_of_model=abc"]).identity != before
    assert resolve(path, ["test_datasets.0.revision=abc"]).identity != before


def test_builtin_dialogues_are_identified_by_the_code_that_generates_them(project):
    builtin = identity(project, "test_datasets=[{path: builtin/dialogues}]")
    assert builtin == identity(project, "test_datasets=[{path: builtin/dialogues, split: null}]")
    assert builtin != identity(project)
    assert builtin != identity(project, "test_datasets=[{path: owner/dialogues}]")


def test_the_generation_batch_and_the_path_of_a_metric_do_not_change_the_identity(project):
    before = identity(project)
    assert identity(project, "generation.batch_size=3") == before
    for folder in ("here", "there"):
        (project / folder).mkdir()
        (project / folder / "metric.py").write_text("a metric")
    here = identity(project, "evaluation.metrics=[rouge1, ./here]")
    assert here != before
    assert identity(project, "evaluation.metrics=[rouge1, ./there]") == here
    (project / "here" / "metric.py").write_text("another metric")
    assert identity(project, "evaluation.metrics=[rouge1, ./here]") != here


def test_metric_arguments_change_the_identity_and_their_paths_do_not(project):
    for folder in ("here", "there"):
        (project / folder).mkdir()
        (project / folder / "config.json").write_text("{}")

    def of(arguments):
        return identity(
            project, "evaluation.metrics=[bertscore]", f"evaluation.metric_arguments={{bertscore: {arguments}}}"
        )

    here = of("{model_type: ./here}")
    assert of("{model_type: ./there}") == here
    assert of("{model_type: ./here, num_layers: 9}") != here
    assert of("{model_type: here}") != here


def test_explicit_default_layers_do_not_change_the_identity(project):
    assert identity(project, "adapter=lora", "lora_target_modules=[q, v]") == identity(project, "adapter=lora")
    assert identity(project, "adapter=lora", "lora_target_modules=[q]") != identity(project, "adapter=lora")


def test_all_linear_layers_by_a_flag_are_the_same_as_by_their_names(project):
    names = "lora_target_modules=[k, o, q, v, wi_0, wi_1, wo]"
    assert identity(project, "adapter=lora", "lora_target_linear=true") == identity(project, "adapter=lora", names)
    assert identity(project, "adapter=lora", "lora_target_linear=false") == identity(project, "adapter=lora")


def test_the_two_spellings_of_qlora_are_one_identity(project, monkeypatch):
    monkeypatch.setattr("summtune.plan.checking.importlib.util.find_spec", lambda name: name)
    whole = identity(project, "adapter=qlora")
    assert identity(project, "adapter=lora", "load_in_4bit=true") == whole
    assert identity(project, "adapter=qlora", "load_in_4bit=true") == whole
    assert identity(project, "adapter=lora", "load_in_4bit=false") == identity(project, "adapter=lora") != whole
    assert identity(project, "adapter=ia3", "load_in_4bit=true") != identity(project, "adapter=ia3")


def test_keys_of_prompt_tuning_change_the_identity(project):
    whole = identity(project, "adapter=prompt_tuning")
    assert identity(project, "adapter=prompt_tuning", "num_virtual_tokens=20") == whole
    assert identity(project, "adapter=prompt_tuning", "num_virtual_tokens=21") != whole
    assert identity(project, "adapter=prompt_tuning", "prompt_tuning_init_text=hi") != whole


@pytest.mark.parametrize("key", ["peft_init_lora_weights=pissa", "loraplus_lr_ratio=16"])
def test_how_lora_begins_and_learns_changes_the_identity(project, key):
    assert identity(project, "adapter=lora", key) != identity(project, "adapter=lora")


def test_layers_of_ia3_change_the_identity(project):
    whole = identity(project, "adapter=ia3")
    assert identity(project, "adapter=ia3", "ia3_target_modules=[k, v, wo]", "ia3_feedforward_modules=[wo]") == whole
    assert identity(project, "adapter=ia3", "ia3_target_modules=[k, v]") != whole


def test_validation_data_is_identified_by_its_content(project, write_rows):
    before = identity(project)
    write_rows(project / "dev.jsonl", 3)
    one = identity(project, "val_datasets=[{path: dev.jsonl}]")
    assert one != before
    (project / "dev.jsonl").rename(project / "moved.jsonl")
    assert identity(project, "val_datasets=[{path: moved.jsonl}]") == one
    write_rows(project / "moved.jsonl", 4)
    assert identity(project, "val_datasets=[{path: moved.jsonl}]") not in (before, one)


def keys(project, *sets, name="train.yaml"):
    return resolve(project / name, sets).keys.model_dump()


def changed(project, *sets, name="train.yaml"):
    """Return the stages whose keys a setting changes."""
    before, after = keys(project, name=name), keys(project, *sets, name=name)
    return {stage for stage in before if before[stage] != after[stage]}


def test_every_key_that_can_change_a_result_is_assigned_to_the_first_stage_that_reads_it():
    assigned = [key for keys in FIRST_READ_BY.values() for key in keys]
    assert len(assigned) == len(set(assigned))
    found = set()
    for recipe in (PromptRecipe, EndpointRecipe, TrainRecipe):
        found |= {key for key, field in recipe.model_fields.items() if EXECUTION not in field.metadata}
    assert set(assigned) == found, "a new key: add it to the first stage that reads it, or mark it as EXECUTION"


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("learning_rate=2e-3", {"train", "predict", "evaluate", "report"}),
        ("val_set_size=2", {"train", "predict", "evaluate", "report"}),
        ("prompt_template=plain", {"train", "predict", "evaluate", "report"}),
        ("micro_batch_size=4", {"train", "predict", "evaluate", "report"}),
        ("generation.num_beams=2", {"predict", "evaluate", "report"}),
        ("test_datasets.0.limit=2", {"predict", "evaluate", "report"}),
        ("evaluation.use_stemmer=false", {"evaluate", "report"}),
        ("logging_steps=1", {"report"}),
        ("generation.batch_size=2", {"report"}),
    ],
)
def test_a_changed_key_changes_the_first_stage_that_reads_it_and_all_later_ones(project, setting, stages):
    assert changed(project, setting) == stages


def test_the_stages_of_a_prompted_model_have_keys(project):
    assert set(keys(project, name="prompt.yaml")) == {"predict", "evaluate", "report"}
    every = {"predict", "evaluate", "report"}
    assert changed(project, "seed=7", name="prompt.yaml") == every
    assert changed(project, "sequence_len=256", name="prompt.yaml") == every
    assert changed(project, "evaluation.references=max", name="prompt.yaml") == {"evaluate", "report"}


@pytest.fixture
def endpoint(project):
    """The project with a recipe of a model behind an API."""
    endpoint = "endpoint: {url: http://localhost:1/v1, model: m}\n"
    (project / "endpoint.yaml").write_text(f"kind: prompt\n{endpoint}test_datasets: [{{path: test.jsonl}}]\n")
    return project


@pytest.mark.parametrize(
    ("setting", "stages"),
    [
        ("endpoint.model=n", {"predict", "evaluate", "report"}),
        ("endpoint.url=http://localhost:2/v1", {"predict", "evaluate", "report"}),
        ("endpoint.extra_body={reasoning_effort: low}", {"predict", "evaluate", "report"}),
        ("system_prompt=Be brief.", {"predict", "evaluate", "report"}),
        ("generation.max_new_tokens=9", {"predict", "evaluate", "report"}),
        ("evaluation.references=max", {"evaluate", "report"}),
        ("endpoint.price={input: 1, output: 2}", {"report"}),
        ("endpoint.concurrency=2", {"report"}),
        ("endpoint.api_key_env=KEY", {"report"}),
        ("endpoint.timeout=3", {"report"}),
        ("endpoint.requests_per_minute=3", {"report"}),
    ],
)
def test_what_an_endpoint_costs_and_its_limits_belong_to_the_report(endpoint, setting, stages):
    assert changed(endpoint, setting, name="endpoint.yaml") == stages


def test_the_last_key_but_that_of_the_report_names_the_run(project):
    draft = resolve(project / "train.yaml")
    assert draft.identity == draft.keys.evaluate
    assert draft.run_dir.name == f"train-{draft.keys.evaluate[:8]}"


def test_the_name_and_the_text_of_a_recipe_belong_to_the_report(project):
    text = (project / "train.yaml").read_text()
    (project / "other.yaml").write_text(text)
    before, other = keys(project), keys(project, name="other.yaml")
    assert {stage for stage in before if before[stage] != other[stage]} == {"report"}
    (project / "train.yaml").write_text(text + "# a remark\n")
    now = keys(project)
    assert {stage for stage in before if before[stage] != now[stage]} == {"report"}


CHAT_SETTINGS = [
    ("system_prompt=Be brief.", {"train", "predict", "evaluate", "report"}),
    ("chat_template_kwargs.enable_thinking=false", {"train", "predict", "evaluate", "report"}),
    ("chat_template=none", {"train", "predict", "evaluate", "report"}),
    ("generation.stop=[END]", {"predict", "evaluate", "report"}),
]


@pytest.fixture
def chatting(project):
    """The project with a decoder-only model that has a chat template."""
    (project / "model" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    template = CHAT_TEMPLATE + "{% if enable_thinking %}{% endif %}"
    (project / "model" / "chat_template.jinja").write_text(template)
    (project / "own.jinja").write_text(template)
    return project


@pytest.mark.parametrize(("setting", "stages"), CHAT_SETTINGS)
def test_keys_of_chats_belong_to_the_stage_that_reads_the_prompts(chatting, setting, stages):
    assert changed(chatting, setting) == stages


def test_the_content_of_a_chat_template_is_part_of_the_keys_and_its_path_is_not(chatting):
    every = {"train", "predict", "evaluate", "report"}
    shutil.copy(chatting / "own.jinja", chatting / "copy.jinja")
    before, own = keys(chatting, "chat_template=own.jinja"), keys(chatting)
    moved = keys(chatting, "chat_template=copy.jinja")
    assert {stage for stage in every if moved[stage] != before[stage]} <= {"report"}
    for name, sets, earlier in (
        ("own.jinja", ("chat_template=own.jinja",), before),
        ("model/chat_template.jinja", (), own),
    ):
        (chatting / name).write_text(CHAT_TEMPLATE + "{% if enable_thinking %} {% endif %}")
        now = keys(chatting, *sets)
        assert {stage for stage in every if now[stage] != earlier[stage]} == every


def test_keys_of_chats_at_their_defaults_are_not_hashed_as_older_runs_have_none(project, monkeypatch):
    hashed = []
    monkeypatch.setattr(keys_module, "hash_of", lambda values: hashed.append(values) or hash_of(values))
    for name in ("train.yaml", "prompt.yaml"):
        resolve(project / name)
    identities = [values for values in hashed if "kind" in values]
    assert identities
    for values in identities:
        assert not {"chat_template", "system_prompt", "chat_template_kwargs"} & values.keys()
        assert "stop" not in values.get("generation", {})
        assert "show_as" not in values.get("exemplars", {})
