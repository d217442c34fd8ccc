import pytest

from summtune.base.errors import RunDirectoryError
from summtune.base.files import read_jsonl, write_jsonl
from summtune.report.scored_dialogues import gather_dialogues
from summtune.runs.finished import read_run


def rewrite(path, change):
    write_jsonl(path, [change(row) for row in list(read_jsonl(path))])


def test_every_dialogue_has_the_summary_of_each_system_in_any_order_of_files(run_dir):
    one, other = run_dir("one"), run_dir("other", words=7)
    write_jsonl(other / "predictions.jsonl", reversed(list(read_jsonl(other / "predictions.jsonl"))))
    scored, scores = gather_dialogues(["A", "B"], [read_run(one), read_run(other)])
    assert [dialogue.id for dialogue in scored] == [f"test_{i}" for i in range(6)]
    assert [output.system for output in scored[4].outputs] == ["A", "B"]
    assert scored[4].outputs[1].text == "they meet at noon on day 4"
    assert scored[1].outputs[0].notes == ("cut at max_new_tokens",)
    assert scores.metrics == ("rouge1", "rouge2", "rougeL")
    assert scores.columns[0][1][4] == read_run(other).per_example["test_4"]["rouge1"]
    assert scored[4].outputs[1].score == f"{100 * scores.columns[0][1][4]:.1f}"


def test_a_summary_whose_thought_was_left_out_says_so(run_dir):
    folder = run_dir("one")
    rewrite(folder / "predictions.jsonl", lambda row: row | ({"thinking": "hm"} if row["id"] == "test_4" else {}))
    scored, _ = gather_dialogues(["A"], [read_run(folder)])
    assert [dialogue.id for dialogue in scored if "thought left out" in dialogue.outputs[0].notes] == ["test_4"]


def test_only_metrics_that_all_systems_have_are_included(run_dir):
    runs = [read_run(run_dir("one", metrics=["rouge1", "rouge2"])), read_run(run_dir("other", metrics=["rouge2"]))]
    assert gather_dialogues(["A", "B"], runs)[1].metrics == ("rouge2",)
    runs = [read_run(run_dir("third", metrics=["rouge1"])), runs[1]]
    scored, scores = gather_dialogues(["A", "B"], runs)
    assert scores.columns == ()
    assert scored[0].outputs[0].score == ""


def test_a_dialogue_that_one_file_lacks_is_taken_from_another(run_dir):
    theirs, ours = run_dir("theirs"), run_dir("ours")
    rewrite(theirs / "predictions.jsonl", lambda row: row | {"dialogue": ""})
    scored, _ = gather_dialogues(["theirs", "ours"], [read_run(theirs), read_run(ours)])
    assert scored[0].dialogue.startswith("#Person1#: Shall we meet")


def test_scores_of_other_dialogues_are_refused_with_an_example(run_dir):
    runs = [read_run(run_dir("one")), read_run(run_dir("other", n=5))]
    with pytest.raises(RunDirectoryError, match=r"other is not a run on the same dialogues .*\(got 'test_5' in only"):
        gather_dialogues(["A", "B"], runs)
