import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from families import both_families
from made_up_outputs import output
from peft import AutoPeftModelForCausalLM
from tiny_decoders import write_decoder
from tiny_inputs import EOS, write_bart
from transformers import AutoTokenizer, GenerationConfig

from summtune.base.errors import StageError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.generation.distinct import key_of
from summtune.plan.launch import Launch
from summtune.prompts.formats import ChatFormat
from summtune.prompts.templates import template_text
from summtune.runs.records import Dialogue
from summtune.work.generation import prediction
from summtune.work.generation.prediction import predict
from summtune.work.tokens.planned import encoder_of


@pytest.fixture
def prompted(prepare, batch_sizes):
    keys = {"kind": "prompt", "datasets": None, "learning_rate": None, "num_epochs": None, "logging_steps": None}
    generation = {"max_new_tokens": 6, "batch_size": 2}
    return lambda **more: prepare(**(keys | {"test": 6, "generation": generation} | more))


def predictions_of(run):
    return list(read_jsonl(run.folder / "predictions.jsonl"))


@both_families
def test_predictions_are_written_in_the_order_of_the_test_dialogues(prompted, batch_sizes):
    run = prompted()
    predict(run.plan, run.folder, run.events("predict"))
    asked = list(read_jsonl(run.folder / "data" / "test.jsonl"))
    rows = predictions_of(run)
    assert [(row["id"], row["dialogue"], row["references"]) for row in rows] == [
        (row["id"], row["dialogue"], row["references"]) for row in asked
    ]
    assert batch_sizes == [2, 2, 2]
    assert not (run.folder / "predictions.partial").exists()
    stats = read_json(run.folder / "prediction_stats.json")
    assert (stats["dialogues"], stats["unique_prompts"], stats["truncated"]) == (6, 6, 0)
    assert (stats["processes"], stats["precision"], stats["trainable_parameters"]) == (1, "fp32", 0)
    assert all(0 < row["new_tokens"] <= 6 for row in rows)
    assert stats["prompt_tokens"] == sum(row["prompt_tokens"] for row in rows)
    assert stats["generated_tokens"] == sum(row["new_tokens"] for row in rows)
    assert 0 < stats["device_seconds"] <= stats["seconds"]


@both_families
def test_a_killed_prediction_resumes_with_the_missing_batches(prompted, batch_sizes):
    whole = prompted(name="whole")
    predict(whole.plan, whole.folder, whole.events("predict"))
    run = prompted(name="killed")
    folder = run.folder / "predictions.partial"
    folder.mkdir()
    done = sorted(predictions_of(whole), key=lambda row: -row["prompt_tokens"])[:2]
    kept = {"text": "as it was", "prompt_tokens": 90, "new_tokens": 2, "hit_length_cap": False}
    tokenizer = prediction.load_tokenizer(run.plan.model.folder)
    encoder = encoder_of(run.plan, tokenizer)
    asked = [Dialogue(row["id"], row["dialogue"], ()) for row in done]
    keys = [key_of(encoded.ids) for encoded in encoder.encode(asked)]
    lines = "".join(json.dumps({"key": key} | kept) + "\n" for key in keys)
    (folder / "rank0.jsonl").write_text(lines + '{"key": "hal')
    write_json(folder / "time.json", {"seconds": 1000.0, "device_seconds": 4000.0})
    batch_sizes.clear()
    predict(run.plan, run.folder, run.events("predict"))
    assert batch_sizes == [2, 2]
    expected = {row["id"]: row["prediction"] for row in predictions_of(whole)} | {
        row["id"]: "as it was" for row in done
    }
    assert {row["id"]: row["prediction"] for row in predictions_of(run)} == expected
    stats = read_json(run.folder / "prediction_stats.json")
    spent, on_devices = round(stats["seconds"] - 1000, 2), round(stats["device_seconds"] - 4000, 2)
    assert 0 < on_devices <= spent < 600  # of this attempt, on one device


def test_cut_dialogues_are_counted_and_warned_of(prompted):
    run = prompted(sequence_len=90)
    predict(run.plan, run.folder, run.events("predict"))
    cut = sum(row["truncated"] for row in predictions_of(run))
    assert 0 < cut <= 6
    assert read_json(run.folder / "prediction_stats.json")["truncated"] == cut
    assert f"{cut} of 6 dialogues exceed sequence_len 90 and are cut" in run.texts("warning")
    assert all(row["prompt_tokens"] <= 90 for row in predictions_of(run))


def test_thoughts_are_kept_counted_and_warned_of(prompted, monkeypatch):
    def thinking(*_):
        outputs = [output("" if at == 2 else "They greet.").model_copy(update={"thinking": "Hm."}) for at in range(6)]
        return SimpleNamespace(generate=lambda prompts, done: (each for each in enumerate(outputs)))

    monkeypatch.setattr(prediction, "LocalGenerator", thinking)
    run = prompted()
    predict(run.plan, run.folder, run.events("predict"))
    assert {row["thinking"] for row in predictions_of(run)} == {"Hm."}
    stats = read_json(run.folder / "prediction_stats.json")
    assert (stats["thoughts"], stats["unfinished_thoughts"]) == (6, 1)
    assert run.texts("warning") == stats["warnings"]
    assert "6 of 6 outputs had a thought" in stats["warnings"][0]


def test_only_a_prompted_chat_model_may_begin_within_a_thought(prompted, prepare):
    chat = ChatFormat(
        template="{dialogue}",
        chat_template="{{ messages }}",
        source="chat_template.jinja",
        special_tokens={},
        system_prompt=None,
        arguments={},
        exemplars_as="turns",
        date=None,
    )
    untrained, trained = prompted(name="untrained").plan, prepare(name="trained").plan
    assert prediction.reasons(untrained.model_copy(update={"prompt": chat}))
    assert not prediction.reasons(untrained)
    assert not prediction.reasons(trained.model_copy(update={"prompt": chat}))


def test_references_that_the_tokenizer_cannot_write_are_warned_of_and_recorded(prompted):
    run = prompted()
    test = run.folder / "data" / "test.jsonl"
    rows = list(read_jsonl(test))
    write_jsonl(test, [{**rows[0], "references": ["客服"]}, *rows[1:]])
    predict(run.plan, run.folder, run.events("predict"))
    (warning,) = run.texts("warning")
    assert "test: the tokenizer has no token for" in warning
    assert "scores have a ceiling (for instance " in warning
    stats = read_json(run.folder / "prediction_stats.json")
    assert stats["warnings"] == [warning]
    assert stats["lost_text"]["summaries"]["lost"]["unknown"]["characters"] == 2


@both_families
def test_the_ids_of_the_exemplars_are_recorded(prompted, tmp_path):
    run = prompted(shots=2, sequence_len=1000, datasets=[{"path": str(tmp_path / "run.train.jsonl"), "id_field": "id"}])
    predict(run.plan, run.folder, run.events("predict"))
    used = read_json(run.folder / "prediction_stats.json")["exemplars"]
    pool = {row["id"]: row for row in read_jsonl(run.folder / "data" / "exemplars.jsonl")}
    assert 2 < len(used) <= 12  # two for each of six dialogues, drawn for each
    assert set(used) <= pool.keys()


def test_a_number_of_processes_other_than_planned_is_refused(prompted):
    run = prompted()
    launch = Launch(distribution="data_parallel", processes=2, device="cpu", config_file="accelerate.yaml")
    with pytest.raises(StageError, match=r"the plan is for 2 processes \(got 1\); see the launcher's log"):
        predict(run.plan.model_copy(update={"predict": launch}), run.folder, run.events("predict"))


def with_settings(plan, **settings):
    generation = plan.recipe.generation.model_copy(update=settings)
    return plan.model_copy(update={"recipe": plan.recipe.model_copy(update={"generation": generation})})


# A deprecated name of transformers 5, which peft uses
@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("keys", [{}, {"adapter": "lora", "lora_r": 4}], ids=["full", "adapter"])
def test_a_trained_model_gets_the_settings_that_are_scored(trained, tmp_path, keys):
    base = write_bart(tmp_path / "base")
    run = trained(base_model=str(base), max_steps=2, num_epochs=None, **keys)
    settings = run.folder / "model" / "generation_config.json"
    AcceleratorState._reset_state(reset_partial_state=True)
    predict(run.plan, run.folder, run.events("predict"))
    first, predicted = read_json(settings), predictions_of(run)
    assert (first["max_new_tokens"], first["forced_eos_token_id"]) == (6, EOS)
    shared = tmp_path / "of another run"
    shared.hardlink_to(settings)
    AcceleratorState._reset_state(reset_partial_state=True)
    beams = with_settings(run.plan, num_beams=2)
    predict(beams, run.folder, run.events("predict"))
    assert read_json(settings) == first | {"num_beams": 2, "length_penalty": 1.0}
    assert read_json(shared) == first
    settings.unlink()  # as of a training that was reused
    AcceleratorState._reset_state(reset_partial_state=True)
    predict(run.plan, run.folder, run.events("predict"))
    assert read_json(settings) == first
    assert predictions_of(run) == predicted


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses deprecated names,
@pytest.mark.filterwarnings("ignore:Position ids are not supported for parameter efficient:UserWarning")  # and warns
@pytest.mark.parametrize(
    "keys",
    [
        {"adapter": "lora", "lora_r": 4, "peft_init_lora_weights": "pissa", "loraplus_lr_ratio": 4},
        {"adapter": "prompt_tuning", "num_virtual_tokens": 4, "learning_rate": 0.3},
    ],
    ids=lambda keys: keys["adapter"],
)
def test_what_is_scored_is_what_peft_writes_with_the_stored_adapter_on_the_untouched_base(trained, tmp_path, keys):
    base = write_decoder(tmp_path / "base", max_position_embeddings=512, architecture="llama", chat_template=None)
    run = trained(base_model=str(base), test=4, sequence_len=256, max_steps=4, num_epochs=None, **keys)
    AcceleratorState._reset_state(reset_partial_state=True)
    predict(run.plan, run.folder, run.events("predict"))
    rows = predictions_of(run)
    assert len({row["prediction"] for row in rows}) > 1
    model = AutoPeftModelForCausalLM.from_pretrained(run.folder / "model").eval()
    model.get_base_model().generation_config = GenerationConfig.from_pretrained(run.folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
    template = template_text("summarize")
    for row in rows:
        ids = tokenizer(template.replace("{dialogue}", row["dialogue"]), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))[0, ids.shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == row["prediction"]
