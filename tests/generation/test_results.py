import pytest
from made_up_outputs import output
from made_up_results import prediction_stats

from summtune.base.errors import StageError
from summtune.base.files import read_jsonl, write_jsonl
from summtune.base.strict import read_model
from summtune.generation.distinct import DistinctPrompts
from summtune.generation.partial import appending
from summtune.generation.results import predictions_of, write_results
from summtune.runs.records import Dialogue, Prediction
from summtune.runs.run_directory import read_predictions
from summtune.runs.statistics import PredictionStats

DIALOGUES = [
    Dialogue("x", "A: hi", ("greeting",)),
    Dialogue("y", "A: bye", ("farewell", "parting")),
    Dialogue("z", "A: hi", ()),
]
ASKED = DistinctPrompts.of([dialogue.dialogue for dialogue in DIALOGUES])
HI, BYE = output("Hi.", 2, 3), output("Bye.", 4, 5, hit_length_cap=True)
PREDICTIONS = [
    Prediction("x", "A: hi", "Hi.", ("greeting",), 2, 3, truncated=False, hit_length_cap=False),
    Prediction("y", "A: bye", "Bye.", ("farewell", "parting"), 4, 5, truncated=True, hit_length_cap=True),
    Prediction("z", "A: hi", "Hi.", (), 2, 3, truncated=False, hit_length_cap=False),
]
CUT = [False, True, False]


def outputs():
    return dict(zip(ASKED.keys, (HI, BYE), strict=True))


def test_dialogues_with_the_same_prompt_get_the_same_output():
    assert list(predictions_of(DIALOGUES, ASKED, CUT, outputs())) == PREDICTIONS


def test_dialogues_and_prompts_of_different_numbers_are_not_joined():
    with pytest.raises(ValueError, match="is longer than"):
        list(predictions_of(DIALOGUES[:2], ASKED, CUT, outputs()))


@pytest.fixture
def run_dir(tmp_path):
    write_jsonl(tmp_path / "data" / "test.jsonl", (dialogue.to_json() for dialogue in DIALOGUES))
    folder = tmp_path / "predictions.partial"
    folder.mkdir()
    for rank, (key, one) in enumerate(outputs().items()):
        with appending(folder, rank) as append:
            append(key, one)
    return tmp_path


def test_results_are_written_in_the_order_of_the_dialogues_and_partial_files_are_deleted(run_dir):
    assert write_results(run_dir, ASKED, CUT, prediction_stats(dialogues=3)) == []
    assert read_predictions(run_dir / "predictions.jsonl") == PREDICTIONS
    # The tokens of each distinct prompt count once.
    stats = prediction_stats(dialogues=3, prompt_tokens=2 + 4, generated_tokens=3 + 5)
    assert read_model(PredictionStats, run_dir / "prediction_stats.json") == stats
    assert not (run_dir / "predictions.partial").exists()


def test_thoughts_are_kept_beside_the_predictions_counted_and_reported(run_dir):
    partial = run_dir / "predictions.partial"
    (partial / "rank0.jsonl").unlink()
    with appending(partial, 0) as append:
        append(ASKED.keys[0], output("Hi.", 2, 3).model_copy(update={"thinking": "A greeting?"}))
    (partial / "rank1.jsonl").unlink()
    with appending(partial, 1) as append:
        append(ASKED.keys[1], output("", 4, 5, hit_length_cap=True).model_copy(update={"thinking": "Perhaps"}))
    warnings = write_results(run_dir, ASKED, CUT, prediction_stats(warnings=("before",)))
    found = read_predictions(run_dir / "predictions.jsonl")
    assert [(one.prediction, one.thinking) for one in found] == [
        ("Hi.", "A greeting?"),
        ("", "Perhaps"),
        ("Hi.", "A greeting?"),
    ]
    stats = read_model(PredictionStats, run_dir / "prediction_stats.json")
    assert (stats.thoughts, stats.unfinished_thoughts) == (3, 1)
    assert [sentence[:18] for sentence in warnings] == ["test: 3 of 3 outpu", "test: 1 of 3 outpu"]
    assert stats.warnings == ("before", *warnings)


def test_a_prompt_without_output_is_refused_with_the_files_that_were_found(run_dir):
    (run_dir / "predictions.partial" / "rank1.jsonl").unlink()
    with pytest.raises(StageError, match=r"got 1 of 2, in .*predictions\.partial: rank0\.jsonl\); check that all"):
        write_results(run_dir, ASKED, CUT, prediction_stats())
    assert (run_dir / "predictions.partial" / "rank0.jsonl").exists()
    assert not (run_dir / "predictions.jsonl").exists()


def test_partial_files_are_kept_where_the_results_cannot_be_written(run_dir):
    (run_dir / "prediction_stats.json").mkdir()
    with pytest.raises(OSError, match=r"prediction_stats\.json"):
        write_results(run_dir, ASKED, CUT, prediction_stats(dialogues=3))
    assert {path.name for path in (run_dir / "predictions.partial").iterdir()} == {"rank0.jsonl", "rank1.jsonl"}
    assert len(list(read_jsonl(run_dir / "predictions.jsonl"))) == 3
