"""A model of a family that summtune cannot run is refused by every command before anything starts."""

import json

import pytest

MESSAGE = "neither an encoder-decoder nor a decoder-only language model (got model_type 'bert' in "
ADVICE = "use one such as google/flan-t5-base"
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 100, "max_position_embeddings": 64}


@pytest.fixture
def neither(project):
    (project / "bert").mkdir()
    (project / "bert" / "config.json").write_text(json.dumps(BERT))
    (project / "a.txt").write_text("A: Shall we?\nB: Yes.\n")
    for name in ("prompt", "train"):
        text = (project / f"{name}.yaml").read_text().replace("base_model: ./model", "base_model: ./bert")
        (project / f"{name}.yaml").write_text(text)
    return project


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["validate", "prompt.yaml"], "prompt.yaml:2:1: "),
        (["run", "train.yaml"], "train.yaml:2:1: "),
        (["run", "train.yaml", "--set", "adapter=lora", "--dry-run"], "train.yaml:2:1: "),
        (["doctor", "train.yaml", "--gpu-memory", "40"], "train.yaml:2:1: "),
        (["doctor", "--model", "./bert", "--gpu-memory", "40"], ""),
        (["summarize", "./bert", "a.txt"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_model_of_neither_family_is_refused(summtune, neither, arguments, place):
    done = summtune(*arguments, cwd=neither)
    assert done.returncode == 2, done.stderr
    output = done.stdout + done.stderr
    assert f"{place}{MESSAGE}" in output
    assert ADVICE in output
    assert not (neither / "outputs").exists()
