"""The predict stage with vLLM's server writes what the local generator writes, and asks nothing twice.

The server is a stand-in (`stand_in_vllm`), or what ``SUMMTUNE_TEST_VLLM`` names: a real vLLM for a CPU.
"""

import json
import os
import shutil

import pytest
from families import decoder_only
from stand_in_vllm import VERSION, write_stand_in
from tiny_decoders import write_decoder
from transformers import GenerationConfig

from summtune.base.errors import InputError, StageError
from summtune.base.files import read_json, read_jsonl
from summtune.work.generation import vllm
from summtune.work.generation.prediction import predict
from summtune.work.generation.vllm import predict_with_vllm

pytestmark = [
    decoder_only,
    # peft uses deprecated names.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
CHAT = {"kind": "prompt", "datasets": None, "learning_rate": None, "num_epochs": None, "logging_steps": None}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Make the stand-in the executable, in one of its modes."""

    def use(mode="", after=0):
        monkeypatch.setenv("SUMMTUNE_VLLM", str(write_stand_in(tmp_path / "bin" / "vllm", mode, after)))

    use()
    return use


@pytest.fixture
def prompted(prepare):
    def start(name="run", engine="vllm", settings=None, **keys):
        generation = {"max_new_tokens": 8, "engine": engine} | (settings or {})
        return prepare(name=name, **(CHAT | {"test": 5, "generation": generation} | keys))

    return start


def texts_of(run):
    fields = ("id", "prediction", "prompt_tokens", "new_tokens", "hit_length_cap", "truncated", "thinking")
    return [{key: row.get(key) for key in fields} for row in read_jsonl(run.folder / "predictions.jsonl")]


def both(prepared, **keys):
    """Predict with each engine; return the two runs."""
    local, served = prepared(name="local", engine="transformers", **keys), prepared(name="served", **keys)
    predict(local.plan, local.folder, local.events("predict"))
    predict_with_vllm(served.plan, served.folder, served.events("predict"))
    return local, served


def everything_written_by(run):
    return "".join(path.read_text(errors="replace") for path in run.folder.rglob("*") if path.is_file())


@pytest.fixture
def ending_early(checkpoint, tmp_path):
    """A copy of the model that ends a text at each of many tokens, so that not every text is cut."""
    folder = tmp_path / "ending"
    shutil.copytree(checkpoint, folder)
    settings = read_json(folder / "generation_config.json") | {"eos_token_id": [2, *range(60, 75)]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return str(folder)


def test_the_server_writes_what_the_local_generator_writes(prompted, stand_in, monkeypatch, ending_early):
    keys = []
    client = vllm._client
    monkeypatch.setattr(vllm, "_client", lambda *args: [keys.append(args[2].key), client(*args)][1])
    local, served = both(prompted, base_model=ending_early, settings={"max_new_tokens": 20})
    rows = texts_of(served)
    assert rows == texts_of(local)
    assert len({row["hit_length_cap"] for row in rows}) == 2, "some texts end by themselves, and some are cut"
    assert not any("answer" in row and row["answer"] for row in read_jsonl(served.folder / "predictions.jsonl"))
    stats, expected = (read_json(run.folder / "prediction_stats.json") for run in (served, local))
    assert stats["engine"] == f"vLLM {VERSION}"
    assert stats["total_parameters"] == expected["total_parameters"]
    same = ("dialogues", "unique_prompts", "processes", "precision", "trainable_parameters", "prompt_tokens")
    assert {key: stats[key] for key in same} == {key: expected[key] for key in same}
    assert "endpoint" not in stats
    assert 0 < stats["device_seconds"] <= stats["seconds"]
    assert keys[0] not in everything_written_by(served)
    assert not (served.folder / "predictions.partial").exists()


@pytest.mark.slow
def test_texts_that_end_a_summary_end_it(prompted, stand_in):
    local, served = both(prompted, settings={"max_new_tokens": 40, "stop": ["e", "a"]})
    assert texts_of(served) == texts_of(local)
    assert not any("a" in row["prediction"] for row in texts_of(served))


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys", [{}, {"adapter": "lora", "lora_r": 5}, {"adapter": "lora", "peft_init_lora_weights": "pissa", "lora_r": 6}],
    ids=["full", "LoRA", "PiSSA"],
)  # fmt: skip
def test_a_trained_model_is_served(trained, stand_in, keys):
    def start(name, engine="vllm"):
        return trained(name=name, val_set_size=4, generation={"max_new_tokens": 12, "engine": engine}, **keys)

    local, served = both(start)
    assert texts_of(served) == texts_of(local)
    stats, expected = (read_json(run.folder / "prediction_stats.json") for run in (served, local))
    for key in ("stopping", "trainable_parameters", "total_parameters"):
        assert stats[key] == expected[key]
    assert expected["stopping"]["dialogues"] == 4
    configs = [read_json(run.folder / "model" / "generation_config.json") for run in (served, local)]
    assert configs[0] == configs[1]


def test_only_missing_prompts_are_asked_and_samples_do_not_depend_on_the_others(prompted, stand_in):
    stand_in("canned")
    sampling = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
    whole = prompted("whole", settings=sampling)
    predict_with_vllm(whole.plan, whole.folder, whole.events("predict"))
    stand_in("dies", after=2)
    run = prompted("resumed", settings=sampling)
    with pytest.raises(StageError, match="vLLM's server ended while it generated") as told:
        predict_with_vllm(run.plan, run.folder, run.events("predict"))
    assert "got exit code 1: torch.OutOfMemoryError: CUDA out of memory" in str(told.value)
    kept = list(read_jsonl(run.folder / "predictions.partial" / "rank0.jsonl"))
    assert len(kept) in (1, 2)  # the server may die while it still sends the second answer
    stand_in("canned")
    predict_with_vllm(run.plan, run.folder, run.events("predict"))
    assert texts_of(run) == texts_of(whole)
    seeds = [row["prediction"].split("seed ")[1] for row in texts_of(run)]
    assert len(set(seeds)) == 5
    top_k = GenerationConfig._get_default_generation_params()["top_k"]
    assert all(f"temperature 0.7, top_p 0.9, top_k {top_k}" in row["prediction"] for row in texts_of(run))
    another = prompted("another", settings=sampling, seed=7)
    predict_with_vllm(another.plan, another.folder, another.events("predict"))
    assert not set(seeds) & {row["prediction"].split("seed ")[1] for row in texts_of(another)}


def test_nothing_is_sampled_without_do_sample_and_no_proxy_is_asked(prompted, stand_in, monkeypatch):
    stand_in("canned")
    monkeypatch.setenv("NO_PROXY", "example.org")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    run = prompted()
    predict_with_vllm(run.plan, run.folder, run.events("predict"))
    assert all(row["prediction"].endswith(" tokens") for row in texts_of(run))


def test_a_server_that_refuses_is_reported_with_its_log(prompted, stand_in, monkeypatch):
    stand_in("refuses")
    monkeypatch.setattr(vllm, "_DYING_SECONDS", 0.1)
    run = prompted()
    with pytest.raises(StageError, match="vLLM: the server refuses the request") as told:
        predict_with_vllm(run.plan, run.folder, run.events("predict"))
    assert str(run.folder / "logs" / "vllm.log") in str(told.value)
    assert "endpoint." not in str(told.value), "there is no such section in the recipe"


def test_an_executable_that_is_gone_is_named(prompted, monkeypatch, stand_in):
    run = prompted()
    monkeypatch.delenv("SUMMTUNE_VLLM")
    with pytest.raises(InputError, match=r"needs vLLM's executable \(got no value of SUMMTUNE_VLLM\); install vLLM in"):
        predict_with_vllm(run.plan, run.folder, run.events("predict"))


@pytest.mark.slow
@pytest.mark.skipif("SUMMTUNE_TEST_VLLM" not in os.environ, reason="needs a vLLM for CPUs: SUMMTUNE_TEST_VLLM")
@pytest.mark.parametrize("keys", [None, {}, {"adapter": "lora", "lora_r": 5}], ids=["base", "full", "LoRA"])
def test_real_vllm_writes_what_the_local_generator_writes(prompted, trained, monkeypatch, tmp_path, keys):
    monkeypatch.setenv("SUMMTUNE_VLLM", os.environ["SUMMTUNE_TEST_VLLM"])
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    # vLLM's attention on CPUs has no smaller heads than these of 32 dimensions.
    model = str(write_decoder(tmp_path / "wide", "llama", hidden_size=128))

    def start(name, engine="vllm"):
        if keys is None:
            return prompted(name, engine, base_model=model, settings={"max_new_tokens": 40})
        generation = {"max_new_tokens": 12, "engine": engine}
        return trained(name=name, base_model=model, val_set_size=4, generation=generation, **keys)

    def whole(run):
        # vLLM leaves out a character that the end cuts in half, in whose place transformers writes a sign.
        return [row | {"prediction": row["prediction"].rstrip("\ufffd")} for row in texts_of(run)]

    local, served = both(start)
    assert whole(served) == whole(local)
