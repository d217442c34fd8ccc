import re
import sys
import textwrap

import pytest

from summtune.base.errors import InputError, StageError
from summtune.evaluator.comparison import _extra_protocols
from summtune.evaluator.evaluation import evaluate
from summtune.evaluator.extra_metrics import _made, score_extra
from summtune.evaluator.systems import ScoredSystem
from summtune.recipe.sections import EvaluationSettings
from summtune.runs.records import Prediction

SCRIPT = """
import datasets
import evaluate


class MyMetric(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({"predictions": text, "references": REFERENCES}),
        )

    def _compute(self, predictions, references, factor=1):
        print("a metric that talks on stdout")
        return RESULT
"""


@pytest.fixture
def metric_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def write(name, result, references="text"):
        folder = tmp_path / name
        folder.mkdir()
        script = SCRIPT.replace("RESULT", result).replace("REFERENCES", references)
        (folder / f"{name}.py").write_text(textwrap.dedent(script), encoding="utf-8")
        return str(folder)

    return write


def test_scores_of_each_pair_become_scores_of_each_dialogue(metric_folder):
    folder = metric_folder("words", '{"f1": [len(r) / 10 for r in references], "hashcode": "v1"}')
    (mean,) = score_extra([(["x", "y"], [["12", "1234"], ["1"]])], [folder], aggregate="mean")
    assert mean.per_example["words.f1"].tolist() == pytest.approx([0.3, 0.1])
    assert mean.scalars == {}
    assert mean.protocol["words"]["details"] == {"hashcode": "'v1'"}


def test_a_metric_of_the_whole_corpus_has_a_value_and_no_interval(metric_folder):
    folder = metric_folder("corpus", '{"corpus": 0.25, "count": len(predictions)}')
    predictions = [Prediction(str(i), "A: Hi.", "text", ("one", "two"), 3, 3, False, False) for i in range(2)]
    settings = EvaluationSettings(metrics=["rouge1", folder], bootstrap_samples=100)
    before = "evaluate" in sys.modules
    evaluation = evaluate(predictions, settings)
    assert ("evaluate" in sys.modules) == before  # the library stays out of this process
    corpus = evaluation.metrics["corpus"]
    assert (corpus.value, corpus.ci_low, corpus.ci_high) == (0.25, None, None)
    assert evaluation.metrics["corpus.count"].value == 4
    assert list(evaluation.per_example) == ["rouge1"]
    assert evaluation.protocol["extra_metrics"]["corpus"]["references"] == "each"


def test_a_list_that_is_as_long_as_the_test_set_by_chance_is_no_score_of_a_dialogue(metric_folder):
    folder = metric_folder("bleu_like", '{"bleu_like": 0.5, "precisions": [0.75, 0.25]}')
    (scores,) = score_extra([(["x", "y"], [["1"], ["2"]])], [folder], aggregate="mean")
    assert scores.per_example == {}
    assert scores.scalars == {"bleu_like": 0.5}
    assert scores.protocol["bleu_like"]["details"] == {"precisions": "[0.75, 0.25]"}


def test_a_corpus_metric_that_takes_lists_gets_all_references_at_once(metric_folder):
    folder = metric_folder("lists", '{"lists": float(len(references[0]))}', "datasets.List(text)")
    (scores,) = score_extra([(["x", "y"], [["1", "2"], ["3", "4"]])], [folder], aggregate="mean")
    assert scores.scalars == {"lists": 2.0}
    assert scores.protocol["lists"]["references"] == "all at once"


@pytest.mark.parametrize("source", ["no_such_metric_anywhere", "folder_without_script"])
def test_a_metric_that_cannot_be_loaded_is_an_error_and_never_a_zero(metric_folder, tmp_path, source):
    (tmp_path / "folder_without_script").mkdir()
    named = str(tmp_path / source) if source.startswith("folder") else source
    with pytest.raises(InputError, match=rf"metric '.*{source}' cannot be loaded \(got .*path of a local folder"):
        score_extra([(["x"], [["y"]])], [named], aggregate="mean")


@pytest.mark.parametrize(
    ("result", "reason"),
    [('{"f1": 1 / 0}', "ZeroDivisionError"), ('{"f1": [float("nan")]}', "no finite number for f1")],
)
def test_a_metric_that_fails_is_an_error_with_its_reason(metric_folder, result, reason):
    folder = metric_folder("failing", result)
    with pytest.raises(StageError, match=rf"metric '.*failing' failed on these predictions \(got .*{reason}"):
        score_extra([(["x"], [["y"]])], [folder], aggregate="mean")


def test_a_metric_that_kills_its_process_leaves_the_parent_alive(metric_folder):
    folder = metric_folder("deadly", '__import__("os")._exit(9)')
    with pytest.raises(StageError, match=r"deadly died \(got exit status 9\)"):
        score_extra([(["x"], [["y"]])], [folder], aggregate="mean")


def test_two_metrics_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"two metrics are called bleu \(got 'bleu' and another\)"):
        score_extra([(["x"], [["y"]])], ["bleu", "mine/bleu"], aggregate="mean")


def test_protocols_of_extra_metrics_are_compared_where_both_systems_have_them():
    made = {"implementation": "evaluate", "version": "0.4.6", "references": "each", "details": {}}
    ours = ScoredSystem(None, {"protocol": {"extra_metrics": {"f": made, "g": made}}}, {}, {})
    theirs = ScoredSystem(None, {"protocol": {"extra_metrics": {"f": made | {"version": "0.5"}}}}, {}, {})
    first, second = _extra_protocols(ours, theirs)
    own_words = ("details.hashcode", "details.signature")
    keys = ("implementation", "version", "references", "script", "arguments", *own_words)
    assert first.keys() == second.keys() == {f"f.{key}" for key in keys}
    assert (first["f.version"], second["f.version"]) == ("0.4.6", "0.5")


SETS = [(["x", "y"], [["12", "1234"], ["1"]]), (["z"], [["123"]])]


def test_several_sets_are_scored_by_one_metric_that_is_loaded_once(metric_folder):
    lengths = '{"length": [factor * len(r) for r in references], "loaded": self.__dict__.setdefault("at", id(self))}'
    folder = metric_folder("length", lengths)
    first, second = score_extra(SETS, [folder], aggregate="mean", arguments={"length": {"factor": 10}})
    assert first.per_example["length"].tolist() == [30, 10]
    assert second.per_example["length"].tolist() == [30]
    assert first.scalars == second.scalars


def test_no_metric_starts_no_process():
    assert [scores.per_example for scores in score_extra(SETS, [], aggregate="mean")] == [{}, {}]


def test_a_local_script_and_model_are_known_by_their_content(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place / "model").mkdir(parents=True)
        (tmp_path / place / "model" / "config.json").write_text("{}")

    def made(place):
        return _made(str(tmp_path / place / "model"), {"model_type": str(tmp_path / place / "model"), "num_layers": 9})

    here = made("here")
    assert re.fullmatch(r"model \(sha256 \w{16}\)", here["script"])
    assert here["arguments"] == {"model_type": here["script"], "num_layers": 9}
    assert made("there") == here
    (tmp_path / "there" / "model" / "config.json").write_text("[]")
    assert made("there") != here
    assert "script" not in _made("bertscore", {})


def test_an_argument_that_the_metric_does_not_take_is_told_with_the_nearest(metric_folder):
    folder = metric_folder("length", '{"length": 1}')
    with pytest.raises(
        InputError,
        match=r"metric '.*length' does not take what it is given \(got 'fctor', did you mean factor\?; its arguments: "
        r"factor\); correct evaluation.metric_arguments.length",
    ):
        score_extra(SETS, [folder], aggregate="mean", arguments={"length": {"fctor": 1}})


def test_a_value_that_the_metric_cannot_use_is_told_with_the_key(metric_folder):
    folder = metric_folder("length", '{"length": 1 / factor}')
    with pytest.raises(
        StageError,
        match=r"metric '.*length' failed on these predictions with the arguments \{'factor': 0\} \(got "
        r"ZeroDivisionError: .*\); correct "
        r"evaluation.metric_arguments.length, or leave it out of evaluation.metrics",
    ):
        score_extra(SETS, [folder], aggregate="mean", arguments={"length": {"factor": 0}})
