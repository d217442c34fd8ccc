"""A model of a family that summtune cannot run is refused by every command before anything starts."""

import json

import pytest

MESSAGE = "not an encoder-decoder model (got model_type 'llama' in "
ADVICE = "use a T5, BART, Pegasus or LED, such as google/flan-t5-base"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 100, "max_position_embeddings": 64}


@pytest.fixture
def decoder_only(project):
    (project / "llama").mkdir()
    (project / "llama" / "config.json").write_text(json.dumps(LLAMA))
    (project / "a.txt").write_text("A: Shall we?\nB: Yes.\n")
    for name in ("prompt", "train"):
        text = (project / f"{name}.yaml").read_text().replace("base_model: ./model", "base_model: ./llama")
        (project / f"{name}.yaml").write_text(text)
    return project


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["validate", "prompt.yaml"], "prompt.yaml:2:1: "),
        (["run", "train.yaml"], "train.yaml:2:1: "),
        (["run", "train.yaml", "--set", "adapter=lora", "--dry-run"], "train.yaml:2:1: "),
        (["doctor", "train.yaml", "--gpu-memory", "40"], "train.yaml:2:1: "),
        (["doctor", "--model", "./llama", "--gpu-memory", "40"], ""),
        (["summarize", "./llama", "a.txt"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_decoder_only_model_is_refused(summtune, decoder_only, arguments, place):
    done = summtune(*arguments, cwd=decoder_only)
    assert done.returncode == 2, done.stderr
    output = done.stdout + done.stderr
    assert f"{place}{MESSAGE}" in output
    assert ADVICE in output
    assert not (decoder_only / "outputs").exists()
