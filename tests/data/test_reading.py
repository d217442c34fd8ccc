"""Dialogues from every kind of source."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from summtune.base.errors import DataError
from summtune.data.builtin import dialogues
from summtune.data.reading import LoadedDialogues, SourceInfo, read_dialogues
from summtune.recipe.sections import DatasetSource
from summtune.runs.records import Dialogue


def read(*sources: DatasetSource | Path, split: str = "train") -> LoadedDialogues:
    return read_dialogues([DatasetSource(path=str(one)) if isinstance(one, Path) else one for one in sources], split)


def jsonl(path: Path, *rows: tuple[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"dialogue": a, "summary": b}) + "\n" for a, b in rows))
    return path


def ids(loaded: LoadedDialogues) -> list[str]:
    return [one.id for one in loaded.dialogues]


def test_ids_default_to_the_file_name_and_row(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "chats.jsonl", ("x", "1"), ("x", "2"), ("y", "3"))
    assert read(path) == LoadedDialogues(
        dialogues=[Dialogue("chats_0", "x", ("1", "2")), Dialogue("chats_2", "y", ("3",))],
        rows=3,
        repeated_rows=1,
        doubled_references=0,
        sources=(SourceInfo(str(path), None, 2, None),),
    )


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    rows = [{"dialogue": f"A: {number}\nB: é", "summary": f"s, {number}"} for number in range(4)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "x.json").write_text(json.dumps({"data": rows}))
    with (tmp_path / "x.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["summary", "dialogue"])
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    loads = [read(tmp_path / f"x.{extension}") for extension in ("jsonl", "json", "csv", "parquet")]
    assert ids(loads[0]) == ["x_0", "x_1", "x_2", "x_3"]
    assert all(one.dialogues == loads[0].dialogues for one in loads)


def test_the_requested_split_of_a_folder_is_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", ("x", "1"))
    jsonl(tmp_path / "test.jsonl", ("y", "2"))
    (tmp_path / "validation.json").write_text('{"data": [], "validation": [{"dialogue": "z", "summary": "3"}]}')
    assert ids(read(tmp_path)) == ["train_0"]
    assert ids(read(tmp_path, split="test")) == ["test_0"]
    loaded = read(DatasetSource(path=str(tmp_path), split="validation"))
    assert ids(loaded) == ["validation_0"]
    assert loaded.sources[0].split == "validation"


def test_ids_continue_across_shards_while_messages_name_the_row_of_the_shard(tmp_path: Path) -> None:
    for number, summary in enumerate(["1", "2"]):
        table = pyarrow.table({"dialogue": [f"x{number}"], "summary": [summary]})
        pyarrow.parquet.write_table(table, tmp_path / f"train-0000{number}-of-00002.parquet")
    assert ids(read(tmp_path)) == ["train_0", "train_1"]
    table = pyarrow.table({"dialogue": ["x", ""], "summary": ["1", "2"]})
    pyarrow.parquet.write_table(table, tmp_path / "train-00001-of-00002.parquet")
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet, row 2: dialogue is empty"):
        read(tmp_path)


def test_data_sets_written_by_save_to_disk_can_be_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"dialogue": ["x", "y", "z"], "summary": ["1", "2", "3"]})
    made.select([2, 0]).save_to_disk(tmp_path / "one")
    assert [one.dialogue for one in read(tmp_path / "one").dialogues] == ["z", "x"]
    assert ids(read(tmp_path / "one")) == ["one_0", "one_1"]
    datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(tmp_path / "two", num_proc=1)
    assert ids(read(tmp_path / "two")) == ["train_0", "train_1", "train_2"]
    assert [one.dialogue for one in read(tmp_path / "two", split="test").dialogues] == ["y"]


def test_the_columns_of_predictions_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,talk,first,second\n7,x,1,2\n8,y,3,3\n")
    source = DatasetSource(
        path=str(tmp_path / "a.csv"), dialogue_field="talk", summary_field=["first", "second"], id_field="n"
    )
    loaded = read(source)
    assert loaded.dialogues == [Dialogue("7", "x", ("1", "2")), Dialogue("8", "y", ("3",))]
    assert loaded.doubled_references == 1


def test_sources_are_grouped_together_and_limited_separately(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", ("x", "1"), ("y", "2"), ("z", "3"))
    second = jsonl(tmp_path / "b.jsonl", ("y", "4"), ("w", "5"), ("v", "6"))
    loaded = read(DatasetSource(path=str(first), limit=2), DatasetSource(path=str(second), limit=2))
    assert loaded.dialogues == [
        Dialogue("a_0", "x", ("1",)),
        Dialogue("a_1", "y", ("2", "4")),
        Dialogue("b_1", "w", ("5",)),
    ]
    assert [one.count for one in loaded.sources] == [2, 1]


def test_ids_of_sources_with_the_same_name_are_distinct(tmp_path: Path) -> None:
    jsonl(tmp_path / "a" / "train.jsonl", ("x", "1"))
    jsonl(tmp_path / "b" / "train.jsonl", ("y", "2"))
    jsonl(tmp_path / "c" / "b" / "train.jsonl", ("z", "3"))
    jsonl(tmp_path / "own.jsonl", ("w", "4"))
    sources = [tmp_path / "a" / "train.jsonl", tmp_path / "b", tmp_path / "c" / "b", tmp_path / "own.jsonl"]
    assert ids(read(*sources)) == ["a_train_0", "b_train_2_0", "b_train_3_0", "own_0"]


def test_two_sources_with_the_same_id_for_different_dialogues_are_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ("x", "1"))
    (tmp_path / "b.csv").write_text("id,dialogue,summary\na_0,y,2\n")
    with pytest.raises(
        DataError,
        match=r"b.csv, record 1 \(line 2\): another dialogue has this id .*got a_0, first in .*a.jsonl, line 1",
    ):
        read(path, DatasetSource(path=str(tmp_path / "b.csv"), id_field="id"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", ""),
        ("a.jsonl", "\n\n"),
        ("a.csv", "dialogue,summary\n"),
        ("a.json", "[]"),
        ("a.json", '{"data": []}'),
    ],
)
def test_a_source_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name} is empty \(got no rows\)"):
        read(tmp_path / name)


def test_a_bad_row_after_the_limit_is_reported(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ("x", "1"), ("y", ""))
    with pytest.raises(DataError, match=r"a.jsonl, line 2: summary is empty"):
        read(DatasetSource(path=str(path), limit=1))


@pytest.mark.parametrize("key", ["name", "revision"])
def test_hub_keys_for_local_data_are_refused(tmp_path: Path, key: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", ("x", "1"))
    with pytest.raises(DataError, match=rf"{key} is only for hub data sets \(got v1 for .*a.jsonl\)"):
        read(DatasetSource(path=str(path), **{key: "v1"}))


@pytest.mark.parametrize("path", ["data/train.jsonl", "some/local/folder"])
def test_a_relative_path_is_not_treated_as_a_hub_id(path: str) -> None:
    with pytest.raises(DataError, match=rf"no such file \(got {path}, not an absolute path\)"):
        read(DatasetSource(path=path))


# The embedded dialogues


def test_builtin_dialogues_keep_their_ids() -> None:
    source = DatasetSource(path="builtin/dialogues", limit=2)
    made = list(dialogues("test"))
    loaded = read(source, split="test")
    assert loaded.dialogues == made[:2]
    assert loaded.sources == (SourceInfo("builtin/dialogues", "test", 2, None),)
    assert (
        ids(read(source.model_copy(update={"split": "train"}), split="test"))
        == [one.id for one in dialogues("train")][:2]
    )
    assert read(source.model_copy(update={"limit": None}), split="test").dialogues == made


def test_an_unknown_split_of_the_builtin_dialogues_lists_the_splits() -> None:
    with pytest.raises(DataError, match=r"no such split \(got 'dev'\); use train, validation, test"):
        read(DatasetSource(path="builtin/dialogues", split="dev"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"path": "builtin/dialogs"},
            r"no such builtin data set \(got builtin/dialogs\), did you mean builtin/dialogues\?",
        ),
        ({"name": "x"}, r"has no name \(got x\)"),
        ({"revision": "x"}, r"has no revision \(got x\)"),
        ({"id_field": "id"}, r"has no id_field \(got id\)"),
        ({"dialogue_field": "talk"}, r"only the columns dialogue and summary \(got dialogue_field: talk\)"),
        ({"summary_field": ["summary", "other"]}, r"\(got summary_field: \('summary', 'other'\)\)"),
    ],
)
def test_builtin_dialogues_refuse_keys_that_would_be_ignored(keys: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(DatasetSource.model_validate({"path": "builtin/dialogues"} | keys))


# Data sets of others


@pytest.mark.real
def test_dialogsum_validation(test_data: Path) -> None:
    loaded = read(DatasetSource(path=f"{test_data}/data/dialogsum/validation.jsonl", id_field="fname"))
    assert len(loaded.dialogues) == loaded.rows == 500
    assert loaded.dialogues[0].id == "dev_0"
    assert loaded.dialogues[0].dialogue.startswith("#Person1#: Hello, how are you doing today?\n#Person2#:")


def dialogsum_test(test_data: Path) -> LoadedDialogues:
    summaries = ["summary1", "summary2", "summary3"]
    source = DatasetSource(path=f"{test_data}/data/dialogsum", split="test", summary_field=summaries, id_field="fname")
    return read(source)


@pytest.mark.real
def test_dialogsum_test_has_three_references_each(test_data: Path) -> None:
    loaded = dialogsum_test(test_data)
    assert len(loaded.dialogues) == 500
    assert sum(len(one.references) for one in loaded.dialogues) + loaded.doubled_references == 1500


@pytest.mark.real
def test_dialogsum_with_one_row_per_reference_gives_the_same_dialogues(test_data: Path, tmp_path: Path) -> None:
    grouped = dialogsum_test(test_data)
    raw = [json.loads(line) for line in Path(f"{test_data}/data/dialogsum/test.jsonl").read_text("utf-8").splitlines()]
    with (tmp_path / "test.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "dialogue", "summary", "topic"])
        for row in raw:
            for number in (1, 2, 3):
                writer.writerow([f"{row['fname']}_{number}", row["dialogue"], row[f"summary{number}"], "t"])
    loaded = read(DatasetSource(path=str(tmp_path), id_field="id"), split="test")
    assert (loaded.rows, loaded.repeated_rows) == (1500, 1000)
    assert [(one.dialogue, one.references) for one in loaded.dialogues] == [
        (one.dialogue, one.references) for one in grouped.dialogues
    ]
    assert ids(loaded)[:2] == ["test_0_1", "test_1_1"]
    limited = read(DatasetSource(path=str(tmp_path), id_field="id", limit=10), split="test")
    assert limited.dialogues == loaded.dialogues[:10]


@pytest.mark.real
def test_mts_dialog_keeps_newlines_in_quoted_fields(test_data: Path) -> None:
    source = DatasetSource(path=f"{test_data}/data/mts-dialog", summary_field="section_text")
    counts = {split: read(source, split=split) for split in ("train", "validation", "test")}
    assert {split: one.rows for split, one in counts.items()} == {"train": 1201, "validation": 100, "test": 200}
    first = counts["train"].dialogues[0].dialogue
    assert first.startswith(
        "Doctor: What brings you back into the clinic today, miss? \nPatient: I came in for a refill"
    )
    assert not any("\r" in one.dialogue for one in counts["train"].dialogues)


# Empty rows and repeated ids


def test_skipped_rows_are_counted_for_each_source(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "one.jsonl", ("a", "1"), ("", "2"), ("c", ""))
    other = tmp_path / "other.jsonl"
    other.write_text('{"dialogue": "d", "summary": ["x", null]}\n')
    loaded = read(*(DatasetSource(path=str(path), on_empty="skip") for path in (one, other)))
    assert ids(loaded) == ["one_0", "other_0"]
    assert loaded.sources == (SourceInfo(str(one), None, 1, None, 2, 0), SourceInfo(str(other), None, 1, None, 0, 1))
    assert loaded.skipped_sentence == (
        f"skipped 2 empty rows of {one} and 1 empty reference of {other} (on_empty: skip)"
    )


def test_a_source_with_only_empty_rows_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ("a", ""), ("", "b"))
    message = r"a.jsonl has only empty rows \(got 2, .*; the first is .*a.jsonl, line 1: no summary in summary"
    with pytest.raises(DataError, match=message):
        read(DatasetSource(path=str(path), on_empty="skip"))


def test_a_column_that_only_some_rows_lack_counts_as_empty_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"dialogue": "a"}\n{"dialogue": "b", "summary": "s"}\n{"summary": "s"}\n')
    loaded = read(DatasetSource(path=str(path), on_empty="skip"))
    assert (ids(loaded), loaded.sources[0].skipped_rows) == (["a_1"], 2)
    with pytest.raises(DataError, match=r"a.jsonl, line 1: no column summary \(got columns: dialogue\)"):
        read(path)


@pytest.mark.parametrize("fields", ["sumary", ["summary", "sumary"]])
def test_a_column_that_no_row_has_is_reported_even_if_empty_rows_are_skipped(
    tmp_path: Path, fields: str | list[str]
) -> None:
    path = jsonl(tmp_path / "a.jsonl", ("a", "b"), ("c", ""), ("d", "e"))
    with pytest.raises(DataError, match=r"a.jsonl, line 1, and 2 more rows: no column sumary, did you mean summary"):
        read(DatasetSource(path=str(path), on_empty="skip", summary_field=fields))


def test_system_messages_are_counted_for_each_source(tmp_path: Path) -> None:
    user, answer = {"role": "user", "content": "A: Hi."}, {"role": "assistant", "content": "Greets."}
    chats = [[{"role": "system", "content": "Be short."}, user, answer], [user | {"content": "B: Hi."}, answer]]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"conversations": chat}) + "\n" for chat in chats))
    source = DatasetSource(path=str(path), type="messages", messages_field="conversations")
    loaded = read(source, source.model_copy(update={"limit": 1}))
    assert [(one.dialogue, one.references) for one in loaded.dialogues] == [
        ("A: Hi.", ("Greets.",)),
        ("B: Hi.", ("Greets.",)),
    ]
    assert [one.system_messages for one in loaded.sources] == [1, 1]
    assert loaded.system_sentence == (
        f"system messages are not part of the dialogue (got 1 row of {path} and 1 row of {path})"
    )


def test_a_source_of_empty_chats_names_the_key_of_the_column(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages": []}\n')
    with pytest.raises(DataError, match=r"only empty rows \(got 1, .*\); check messages_field$"):
        read(DatasetSource(path=str(path), type="messages", on_empty="skip"))


def test_the_builtin_dialogues_have_columns() -> None:
    with pytest.raises(DataError, match=r"builtin/dialogues has no type \(got messages\); remove it"):
        read(DatasetSource(path="builtin/dialogues", type="messages"))


def test_the_builtin_dialogues_have_no_empty_rows() -> None:
    with pytest.raises(DataError, match=r"builtin/dialogues has no on_empty \(got skip\); remove it"):
        read(DatasetSource(path="builtin/dialogues", on_empty="skip"))


def test_rows_that_repeat_a_dialogue_under_another_id_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,dialogue,summary\na,x,1\nb,x,2\nc,y,3\n")
    loaded = read(DatasetSource(path=str(path), id_field="id"))
    assert ids(loaded) == ["a", "c"]
    (repeated,) = loaded.repeated_ids
    assert (repeated.id, str(repeated.position), repeated.first_id, str(repeated.first_position)) == (
        ("b", f"{path}, record 2 (line 3)", "a", f"{path}, record 1 (line 2)")
    )
