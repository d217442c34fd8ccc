import ast

import pytest
import yaml
from made_up_diagnostics import put_scores
from made_up_results import compared_system, comparison

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_json, write_json
from summtune.report.model_card import model_card


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def change_recipe(folder, **changes):
    plan = read_json(folder / "plan.json")
    plan["recipe"] |= changes
    write_json(folder / "plan.json", plan)


def test_the_card_of_an_adapter_has_base_model_scores_and_loading_code(run_dir):
    card = model_card(run_dir("lora", kind="train"))
    assert front_matter(card) == {
        "base_model": "google/flan-t5-base",
        "library_name": "peft",
        "tags": ["summarization", "dialogue", "summtune", "lora"],
        "datasets": ["owner/talks"],
    }
    assert "3,538,944 (1.41 %) of 251,116,800 parameters were trained for 100 optimizer steps in 12 min 05 s." in card
    assert "| ROUGE-1 | " in card
    assert "On 6 dialogues. ROUGE F-measure" in card
    assert "AutoPeftModelForSeq2SeqLM.from_pretrained" in card
    assert "base_model: google/flan-t5-base\n" in card.split("## Recipe")[1]


def test_the_card_shows_floor_and_ceiling_next_to_each_score(run_dir):
    card = model_card(run_dir("lora", kind="train"))
    assert "| Metric | Score | 95% interval | Lead-3 | Human agreement |" in card


def test_the_card_has_no_floor_if_the_dialogues_are_unknown(run_dir):
    folder = run_dir("lora", kind="train")
    put_scores(folder, floor=None)
    assert "| Metric | Score | 95% interval | Human agreement |" in model_card(folder)


def test_the_card_contains_the_verdict_of_a_comparison(run_dir):
    sentence = "LoRA beats Original by 17.5 ± 1.9 ROUGE-1 (p < 0.001)."
    systems = [compared_system("Original"), compared_system("LoRA")]
    card = model_card(run_dir("lora", kind="train"), comparison(systems, verdict=(sentence,)))
    assert f"(Original, LoRA) on the same dialogues:\n\n- {sentence.replace('<', chr(92) + '<')}\n" in card
    assert card.index("## Scores") < card.index(sentence[:20]) < card.index("## How to use it")


def test_the_card_of_a_full_fine_tuning_loads_with_transformers(run_dir):
    folder = run_dir("full_ft", kind="train")
    change_recipe(folder, adapter=None)
    card = model_card(folder)
    assert front_matter(card)["library_name"] == "transformers"
    assert "AutoModelForSeq2SeqLM.from_pretrained" in card
    assert "(all weights)" in card


def code_of(card):
    return card.split("```python\n")[1].split("\n```")[0]


HOSTILE = "a {b} \"q\" 'r' \\n ```\n```python\n{{ x }} \u202e\n{dialogue}\n---\nTL;DR:"


@pytest.mark.parametrize(
    ("given", "text"), [("flan_briefly", "{dialogue}\n\nBriefly summarize that dialogue."), (HOSTILE, HOSTILE)]
)
def test_the_template_is_a_string_literal_in_the_code_of_the_card(run_dir, given, text):
    folder = run_dir("lora", kind="train")
    change_recipe(folder, prompt_template=given)
    (line,) = (line for line in code_of(model_card(folder)).splitlines() if line.startswith("template = "))
    assert ast.literal_eval(line.removeprefix("template = ")) == text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"adapter": None}, "AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.bfloat16).eval()"),
        ({"adapter": "lora"}, "dtype=torch.float32).merge_and_unload().to(torch.bfloat16).eval()"),
        ({"adapter": "ia3"}, "dtype=torch.float32).merge_and_unload().to(torch.bfloat16).eval()"),
        ({"adapter": "qlora"}, "dtype=torch.bfloat16, quantization_config=in_four_bits"),
        ({"long_dialogues": "truncate_start"}, "tokens(dialogue[places[-keep][0] :])"),
        ({"long_dialogues": "drop"}, "tokens(dialogue[: places[keep - 1][1]])"),
        ({"sequence_len": 200}, "sequence_len = 200\n"),
    ],
)
def test_the_code_of_the_card_follows_the_recipe(run_dir, changes, expected):
    folder = run_dir("lora", kind="train")
    change_recipe(folder, **changes)
    code = code_of(model_card(folder))
    assert expected in code
    compile(code, "card", "exec")


def test_the_code_of_the_card_sets_the_global_attention_of_led(run_dir):
    folder = run_dir("lora", kind="train")
    assert "global_attention_mask" not in code_of(model_card(folder))
    write_json(folder / "model" / "config.json", {"model_type": "led"})
    code = code_of(model_card(folder))
    assert "global_attention_mask=" in code
    compile(code, "card", "exec")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generation": {"do_sample": True}}, "sampled, so each call gives different ones"),
        ({"base_model": "builtin/flan-t5-nano"}, "The base model is bundled with summtune"),
        ({"base_model": "/models/t5"}, "change `base_model_name_or_path` in `adapter_config.json`"),
    ],
)
def test_the_card_states_the_limits_of_its_code(run_dir, changes, said):
    folder = run_dir("lora", kind="train")
    assert said not in model_card(folder)
    change_recipe(folder, **changes)
    assert said in model_card(folder)


def test_the_card_names_the_revision_of_the_base_model(run_dir):
    folder = run_dir("lora", kind="train")
    plan = read_json(folder / "plan.json")
    write_json(folder / "plan.json", plan | {"model": plan["model"] | {"revision": "7bcac57"}})
    assert "The base model is `google/flan-t5-base` at revision `7bcac57`." in model_card(folder)


def test_the_front_matter_contains_no_local_paths(run_dir, tmp_path):
    folder = run_dir("lora", kind="train")
    sources = [{"path": path} for path in ("builtin/dialogues", "talks.jsonl", str(tmp_path), "owner/talks")]
    change_recipe(folder, base_model=str(tmp_path / "t5"), datasets=sources)
    matter = front_matter(model_card(folder))
    assert "base_model" not in matter
    assert matter["datasets"] == ["owner/talks"]


def test_the_card_before_the_evaluation_says_not_scored_yet(run_dir):
    folder = run_dir("lora", kind="train")
    (folder / "metrics.json").unlink()
    (folder / "training.json").unlink()
    assert "## Scores\n\nNot scored yet.\n" in model_card(folder)


def test_a_model_card_of_a_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"is not a run \(got no plan.json\)"):
        model_card(tmp_path)


def test_a_model_card_of_a_prompted_run_is_refused(run_dir):
    with pytest.raises(RunDirectoryError, match=r"trains no model \(got kind prompt\)"):
        model_card(run_dir())


def test_hostile_names_in_the_card_close_no_code_and_start_no_command(run_dir):
    folder = run_dir("lora; id", kind="train")
    plan = read_json(folder / "plan.json")
    recipe = plan["recipe"] | {"base_model": "./a`b\n# Forged\n---\nlicense: x"}
    write_json(folder / "plan.json", plan | {"recipe": recipe, "versions": {"torch": "<b>2</b>"}})
    card = model_card(folder)
    assert "`` ./a`b # Forged --- license: x ``, fine-tuned" in card
    assert "summtune summarize 'lora; id' dialogue.txt" in card
    assert "torch \\<b\\>2\\</b\\>." in card


def test_a_family_that_this_version_does_not_know_is_refused(run_dir):
    folder = run_dir("lora", kind="train")
    plan = read_json(folder / "plan.json")
    write_json(folder / "plan.json", plan | {"model": (plan.get("model") or {}) | {"family": "encoder_decoder"}})
    assert "AutoPeftModelForSeq2SeqLM" in model_card(folder)
    write_json(folder / "plan.json", plan | {"model": {"family": "of_tomorrow"}})
    with pytest.raises(RunDirectoryError, match=r"names a family .* does not know \(got 'of_tomorrow'\); give"):
        model_card(folder)
