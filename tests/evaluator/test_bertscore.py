"""BERTScore with a model of this machine, against bert_score called directly; nothing is downloaded."""

import json
import subprocess
import sys

import pytest

from summtune.base.errors import StageError
from summtune.evaluator.extra_metrics import score_extra

# As the hub's script does: calls bert_score with its arguments, and returns its hash next to the scores.
SCRIPT = """
import bert_score
import datasets
import evaluate


class BertScore(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        several = datasets.Features({"predictions": text, "references": datasets.List(text)})
        single = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=[several, single]
        )

    def _compute(self, predictions, references, lang=None, model_type=None, num_layers=None, batch_size=64):
        references = [[text] if isinstance(text, str) else text for text in references]
        (p, r, f), version = bert_score.score(
            predictions, references, lang=lang, model_type=model_type, num_layers=num_layers, batch_size=batch_size,
            return_hash=True,
        )
        return {"precision": p.tolist(), "recall": r.tolist(), "f1": f.tolist(), "hashcode": version}
"""

# Prints what bert_score gives for pairs, having written the model: a process, so that torch stays out of this one.
DIRECTLY = """
import json, sys
import bert_score, torch
from transformers import BertConfig, BertModel

folder, pairs = sys.argv[1], json.loads(sys.argv[2])
torch.manual_seed(5)
size = sum(1 for _ in open(folder + "/vocab.txt"))
config = BertConfig(
    vocab_size=size, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=64,
)
BertModel(config).save_pretrained(folder)
texts, references = zip(*pairs)
found = bert_score.score(list(texts), list(references), model_type=folder, num_layers=2)
print(json.dumps([values.tolist() for values in found]))
"""

TEXTS = ["they meet at noon", "she buys a cake", "they greet him"]
REFERENCES = [["they meet at noon"], ["she meets him on monday .", "she buys a cake", "a cake"], ["they buy lunch"]]
PAIRS = [(text, reference) for text, several in zip(TEXTS, REFERENCES, strict=True) for reference in several]
WORDS = sorted({word for pair in PAIRS for text in pair for word in text.split()})


@pytest.fixture(scope="module")
def offline():
    pytest.importorskip("bert_score")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics") / "bertscore"
    folder.mkdir()
    (folder / "bertscore.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    letters = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def directly(offline, model):
    """Return precision, recall and F1 of each pair as bert_score itself gives them; the model is written on the way."""
    command = [sys.executable, "-W", "ignore", "-c", DIRECTLY, str(model), json.dumps(PAIRS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def scores(directly, script, model):
    """Return the scores of a set with one reference each, and of one with several, made by one process."""
    singles = ([text for text, _ in PAIRS], [[reference] for _, reference in PAIRS])
    arguments = {"bertscore": {"model_type": str(model), "num_layers": 2}}
    return score_extra([singles, (TEXTS, REFERENCES)], [str(script)], aggregate="mean", arguments=arguments)


def test_each_pair_scores_as_in_bert_score(scores, directly):
    for name, values in zip(("precision", "recall", "f1"), directly, strict=True):
        assert scores[0].per_example[f"bertscore.{name}"].tolist() == pytest.approx(values, abs=1e-5)
    assert len(set(directly[2])) > 3  # or the comparison would say nothing


def test_several_references_are_averaged_by_dialogue(scores, directly):
    f1 = directly[2]
    expected = [f1[0], sum(f1[1:4]) / 3, f1[4]]
    assert scores[1].per_example["bertscore.f1"].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_text_that_is_its_reference_scores_one(scores):
    assert scores[0].per_example["bertscore.f1"][[0, 2]].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_the_protocol_names_layers_model_and_the_hash_of_bert_score(scores):
    made = scores[0].protocol["bertscore"]
    assert made.arguments["num_layers"] == 2
    assert made.arguments["model_type"].startswith("tiny-bert (sha256 ")
    assert made.arguments["lang"] == "en"
    assert "L2" in made.details["hashcode"]


def test_a_missing_layer_is_an_error_that_names_the_key(directly, script, model):
    arguments = {"bertscore": {"model_type": str(model), "num_layers": 9}}
    with pytest.raises(
        StageError,
        match=r"metric '.*bertscore' failed on these predictions with the arguments \{.*'num_layers': 9\} \(got "
        r"AssertionError: .* between 0 and 3 .*\); correct "
        r"evaluation.metric_arguments.bertscore, or leave it out",
    ):
        score_extra([(TEXTS, REFERENCES)], [str(script)], aggregate="mean", arguments=arguments)
