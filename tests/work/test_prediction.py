import copy
import json

import pytest
import torch
from tiny_inputs import dialogues

from summtune.errors import StageError
from summtune.files import read_json, read_jsonl
from summtune.plan import Launch
from summtune.recipe import Generation, Recipe
from summtune.records import Dialogue
from summtune.work import prediction
from summtune.work.encoding import EncodedPrompt, PromptEncoder
from summtune.work.models import load_model
from summtune.work.prediction import generate, generation_config, key_of, make_batches, predict, read_partial


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32).eval()


@pytest.fixture
def prompts(tokenizer):
    asked = [Dialogue(row["id"], row["dialogue"], (row["summary"],)) for row in dialogues(8, seed=3)]
    return [prompt.ids for prompt in PromptEncoder(tokenizer, "{dialogue}", 512).encode(asked)]


class PlanOf:
    """The part of a plan that generation reads."""

    def __init__(self, **settings):
        self.recipe = Recipe(kind="prompt", generation=Generation(**settings))


def prompt(*ids):
    return EncodedPrompt(list(ids), truncated=False)


def test_settings_of_the_model_do_not_leak_into_generation(model, tokenizer, prompts, monkeypatch):
    expected = generate(model, tokenizer, prompts, generation_config(model, PlanOf(max_new_tokens=12)))
    own = copy.deepcopy(model.generation_config)
    own.no_repeat_ngram_size, own.max_new_tokens = 1, 12
    monkeypatch.setattr(model, "generation_config", own)
    assert generate(model, tokenizer, prompts, own) != expected
    monkeypatch.setattr(model, "generation_config", copy.deepcopy(own))
    assert generate(model, tokenizer, prompts, generation_config(model, PlanOf(max_new_tokens=12))) == expected


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3, "length_penalty": 2.0}, {"no_repeat_ngram_size": 2}])
def test_the_text_does_not_depend_on_the_batch_size(model, tokenizer, prompts, settings):
    config = generation_config(model, PlanOf(max_new_tokens=10, **settings))
    together = [one for start in (0, 4) for one in generate(model, tokenizer, prompts[start : start + 4], config)]
    alone = [generate(model, tokenizer, [ids], config)[0] for ids in prompts]
    assert together == alone
    # Beams of a random model all find the same text; without them the prompts can be told apart.
    assert "num_beams" in settings or len({one.text for one in alone}) > 1


class Scripted(torch.nn.Module):
    """A model whose output is given: what ``generate`` makes of it is what is tested."""

    device = torch.device("cpu")

    def __init__(self, rows):
        super().__init__()
        self.rows = torch.tensor(rows)

    def generate(self, **_):
        return self.rows


def test_new_tokens_and_the_length_cap_are_told_from_the_end_of_sequence(tokenizer):
    word = tokenizer("They")["input_ids"][0]
    rows = [[0, word, word, 1, 0], [0, word, word, word, word], [0, 1, 0, 0, 0], [0, word, word, word, 1]]
    results = generate(Scripted(rows), tokenizer, [[5, 1]] * 4, None)
    assert [one.new_tokens for one in results] == [3, 4, 1, 4]
    assert [one.hit_length_cap for one in results] == [False, True, False, False]
    assert results[2].text == ""
    assert results[0].text == tokenizer.decode([word, word])


def test_padding_that_the_model_itself_generates_counts_as_tokens(model, tokenizer, prompts):
    with torch.no_grad():
        model.lm_head.weight.zero_()  # the first token of all, the padding, is the most probable one
    (one,) = generate(model, tokenizer, prompts[:1], generation_config(model, PlanOf(max_new_tokens=5)))
    assert (one.text, one.new_tokens, one.hit_length_cap) == ("", 5, True)


@pytest.mark.parametrize("cap", [1, 7])
def test_generation_ends_at_max_new_tokens(model, tokenizer, prompts, cap):
    model.generation_config.max_length = 3  # a limit of the model's own takes no part
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0.0
    results = generate(model, tokenizer, prompts[:3], generation_config(model, PlanOf(max_new_tokens=cap)))
    assert [(one.new_tokens, one.hit_length_cap) for one in results if one.hit_length_cap] != []
    assert all(one.new_tokens == cap for one in results if one.hit_length_cap)


@pytest.mark.parametrize("settings", [{}, {"max_new_tokens": 9}, {"num_beams": 4}, {"do_sample": True, "top_p": 0.9}])
def test_the_config_always_has_a_cap_and_the_special_tokens(model, settings):
    config = generation_config(model, PlanOf(**settings))
    assert config.max_new_tokens == settings.get("max_new_tokens", 128)
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 0)
    assert config.num_beams == settings.get("num_beams", 1)
    assert config.do_sample is settings.get("do_sample", False)


def test_special_tokens_come_from_the_model_config_where_there_is_no_generation_config(model):
    own = model.generation_config
    own.decoder_start_token_id = own.eos_token_id = own.pad_token_id = None
    model.config.decoder_start_token_id = 7
    config = generation_config(model, PlanOf())
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (7, 1, 0)


def test_identical_prompts_are_generated_once_and_the_longest_first():
    batches = make_batches([prompt(3, 1), prompt(3, 4, 5, 1), prompt(3, 1), prompt(2, 1), prompt(9, 9, 1)], 2)
    assert batches == [[[3, 4, 5, 1], [9, 9, 1]], [[2, 1], [3, 1]]]


def test_batches_do_not_depend_on_the_order_of_the_dialogues():
    prompts = [prompt(*range(length), 1) for length in (3, 9, 4, 4, 7)]
    assert make_batches(prompts, 2) == make_batches(reversed(prompts), 2)
    assert make_batches([], 2) == []


def write_partial(folder, rank, keys, tail=""):
    rows = [{"key": key, "text": f"text {key}", "new_tokens": 3, "hit_length_cap": False} for key in keys]
    path = folder / f"rank{rank}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_what_all_ranks_have_generated_is_read(tmp_path):
    write_partial(tmp_path, 0, ["a", "b"])
    write_partial(tmp_path, 1, ["c"])
    assert {key: one.text for key, one in read_partial(tmp_path).items()} == {
        "a": "text a",
        "b": "text b",
        "c": "text c",
    }


def test_a_line_that_a_kill_cut_short_is_taken_out_of_the_file(tmp_path):
    path = write_partial(tmp_path, 0, ["a"], tail='{"key": "b", "te')
    assert list(read_partial(tmp_path)) == ["a"]
    assert path.read_text().count("\n") == 1
    with path.open("a") as file:
        file.write('{"key": "b", "text": "whole", "new_tokens": 1, "hit_length_cap": true}\n')
    assert list(read_partial(tmp_path)) == ["a", "b"]


@pytest.fixture
def generated_batches(monkeypatch):
    """The number of prompts of each batch that is generated."""
    sizes = []

    def counted(model, tokenizer, prompts, config):
        sizes.append(len(prompts))
        return generate(model, tokenizer, prompts, config)

    monkeypatch.setattr(prediction, "generate", counted)
    return sizes


@pytest.fixture
def prompted(prepare, generated_batches):
    keys = {"kind": "prompt", "datasets": None, "learning_rate": None, "num_epochs": None, "logging_steps": None}
    generation = {"max_new_tokens": 6, "batch_size": 2}
    return lambda **more: prepare(**(keys | {"test": 6, "generation": generation} | more))


def predictions_of(run):
    return list(read_jsonl(run.folder / "predictions.jsonl"))


def test_predictions_are_written_in_the_order_of_the_test_dialogues(prompted, generated_batches):
    run = prompted()
    predict(run.plan, run.folder, run.events("predict"))
    asked = list(read_jsonl(run.folder / "data" / "test.jsonl"))
    rows = predictions_of(run)
    assert [(row["id"], row["dialogue"], row["references"]) for row in rows] == [
        (row["id"], row["dialogue"], row["references"]) for row in asked
    ]
    assert generated_batches == [2, 2, 2]
    assert not (run.folder / "predictions.partial").exists()
    stats = read_json(run.folder / "prediction_stats.json")
    assert (stats["dialogues"], stats["unique_prompts"], stats["truncated"]) == (6, 6, 0)
    assert (stats["processes"], stats["precision"], stats["trainable_parameters"]) == (1, "fp32", 0)
    assert all(0 < row["new_tokens"] <= 6 for row in rows)


def test_a_killed_prediction_goes_on_with_the_missing_batches(prompted, generated_batches):
    whole = prompted(name="whole")
    predict(whole.plan, whole.folder, whole.events("predict"))
    run = prompted(name="killed")
    folder = run.folder / "predictions.partial"
    folder.mkdir()
    done = sorted(predictions_of(whole), key=lambda row: -row["prompt_tokens"])[:2]
    kept = {"text": "as it was", "new_tokens": 2, "hit_length_cap": False}
    tokenizer = prediction.load_tokenizer(run.plan.model.folder)
    encoder = PromptEncoder(tokenizer, prediction.template_text("summarize"), 512)
    asked = [Dialogue(row["id"], row["dialogue"], ()) for row in done]
    keys = [key_of(encoded.ids) for encoded in encoder.encode(asked)]
    lines = "".join(json.dumps({"key": key} | kept) + "\n" for key in keys)
    (folder / "rank0.jsonl").write_text(lines + '{"key": "hal')
    generated_batches.clear()
    predict(run.plan, run.folder, run.events("predict"))
    assert generated_batches == [2, 2]
    expected = {row["id"]: row["prediction"] for row in predictions_of(whole)} | {
        row["id"]: "as it was" for row in done
    }
    assert {row["id"]: row["prediction"] for row in predictions_of(run)} == expected


def test_cut_dialogues_are_counted_and_said(prompted):
    run = prompted(sequence_len=90)
    predict(run.plan, run.folder, run.events("predict"))
    cut = sum(row["truncated"] for row in predictions_of(run))
    assert 0 < cut <= 6
    assert read_json(run.folder / "prediction_stats.json")["truncated"] == cut
    assert f"{cut} of 6 dialogues exceed sequence_len 90 and are cut" in run.texts("warning")
    assert all(row["prompt_tokens"] <= 90 for row in predictions_of(run))


def test_exemplars_are_shown_and_named(prompted, tmp_path):
    run = prompted(shots=2, sequence_len=2000, datasets=[{"path": str(tmp_path / "run.train.jsonl"), "id_field": "id"}])
    predict(run.plan, run.folder, run.events("predict"))
    used = read_json(run.folder / "prediction_stats.json")["exemplars"]
    pool = {row["id"]: row for row in read_jsonl(run.folder / "data" / "exemplars.jsonl")}
    assert 2 < len(used) <= 12  # two for each of six dialogues, drawn anew
    assert set(used) <= pool.keys()


def test_another_number_of_processes_than_planned_is_an_error(prompted):
    run = prompted()
    launch = Launch(distribution="data_parallel", processes=2, device="cpu", config_file="accelerate.yaml")
    stages = [stage.model_copy(update={"launch": launch}) for stage in run.plan.stages]
    with pytest.raises(StageError, match=r"the plan is for 2 processes \(got 1\); see the launcher's log"):
        predict(run.plan.model_copy(update={"stages": stages}), run.folder, run.events("predict"))
