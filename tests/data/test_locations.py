"""Location of the files of a path and split."""

import json
import os
from pathlib import Path

import pytest

from summtune.base.errors import DataError
from summtune.data.locations import locate


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def names(folder: Path, split: str | None = None, default: str = "train") -> list[str]:
    return [str(file.relative_to(folder)) for file in locate(folder, split, default).files]


@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.arrow", "ROWS.CSV"]
)
def test_a_single_file_is_located_as_itself(tmp_path: Path, name: str) -> None:
    location = locate(fill(tmp_path, name) / name, None, "train")
    assert location.files == (tmp_path / name,)
    assert location.split is None


@pytest.mark.parametrize("extension", ["jsonl", "json", "csv", "tsv", "parquet", "arrow"])
def test_a_folder_with_one_file_per_split_is_located(tmp_path: Path, extension: str) -> None:
    fill(tmp_path, f"train.{extension}", f"test.{extension}", "README.md")
    assert names(tmp_path) == [f"train.{extension}"]
    assert names(tmp_path, "test") == [f"test.{extension}"]
    assert locate(tmp_path, None, "test").split == "test"


@pytest.mark.parametrize("place", ["", "data/"])
@pytest.mark.parametrize("hashed", ["", "-0123456789abcdef"])
def test_shards_are_read_in_their_order(tmp_path: Path, place: str, hashed: str) -> None:
    shards = [f"{place}train-{number:05d}-of-00003{hashed}.parquet" for number in (2, 0, 1)]
    fill(tmp_path, *shards, f"{place}test-00000-of-00001.parquet")
    assert names(tmp_path) == sorted(shards)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "train-00000-of-00003.parquet", "train-00002-of-00003.parquet")
    with pytest.raises(
        DataError, match=r"lacks 1 of the 3 shards of split train \(got no train-00001-of-00003.parquet\)"
    ):
        locate(tmp_path, None, "train")


@pytest.mark.parametrize(
    "files",
    [
        ("train.csv", "train.jsonl"),
        ("train.csv", "data/train.csv"),
        ("train.csv", "train-00000-of-00001.parquet"),
        ("train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
    ],
)
def test_a_split_that_exists_twice_is_refused(tmp_path: Path, files: tuple[str, ...]) -> None:
    fill(tmp_path, *files)
    with pytest.raises(DataError, match=r"contains split train more than once \(got .*train") as caught:
        locate(tmp_path, None, "train")
    assert all(file in str(caught.value) for file in files)


def test_a_missing_split_is_reported_with_the_existing_ones(tmp_path: Path) -> None:
    fill(tmp_path, "validation.csv", "test.csv")
    with pytest.raises(
        DataError, match=r"no split validatoin, did you mean validation\? \(got splits: test, validation\)"
    ):
        locate(tmp_path, "validatoin", "train")


def test_a_folder_without_data_is_reported_with_its_content(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contains no data \(the folder is empty\)"):
        locate(tmp_path, None, "train")
    fill(tmp_path, *(f"note{number:02d}.txt" for number in range(20)))
    with pytest.raises(DataError, match=r"got: note00.txt, .*note11.txt and 8 more\); it needs train.jsonl"):
        locate(tmp_path, None, "train")


def test_a_missing_path_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    fill(tmp_path, "train.jsonl")
    with pytest.raises(DataError, match=r"no such file or folder \(got .*/trian.jsonl\), did you mean train.jsonl\?"):
        locate(tmp_path / "trian.jsonl", None, "train")
    with pytest.raises(DataError, match=r"got .*/no/x.csv\), nor its folder .*/no; correct the path"):
        locate(tmp_path / "no" / "x.csv", None, "train")


def test_a_path_that_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match=r"not a regular file \(got .*pipe.jsonl, a pipe\)"):
        locate(tmp_path / "pipe.jsonl", None, "train")


def test_a_file_has_no_splits(tmp_path: Path) -> None:
    fill(tmp_path, "rows.csv", "rows.json")
    with pytest.raises(DataError, match=r"rows.csv is one file and has no splits \(got split: test\)"):
        locate(tmp_path / "rows.csv", "test", "train")
    assert locate(tmp_path / "rows.json", "test", "train").json_split == "test"


def test_unsupported_extensions_are_reported_with_the_supported_ones(tmp_path: Path) -> None:
    fill(tmp_path, "rows.txt", "rows.jsonl.gz", "rows")
    with pytest.raises(
        DataError, match=r"extension .txt\); save it as .csv, or as one of .jsonl, .json, .csv, .tsv, .parquet"
    ):
        locate(tmp_path / "rows.txt", None, "train")
    with pytest.raises(DataError, match=r"extension none\)"):
        locate(tmp_path / "rows", None, "train")
    with pytest.raises(DataError, match=r"compressed files are not supported \(got .*rows.jsonl.gz\); decompress"):
        locate(tmp_path / "rows.jsonl.gz", None, "train")


def saved(folder: Path, state: object, *files: str) -> Path:
    fill(folder, *files)
    folder.mkdir(exist_ok=True)
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def state(*files: str, **more: object) -> dict[str, object]:
    return {"_data_files": [{"filename": file} for file in files], "_split": None, **more}


def test_a_saved_data_set_names_its_files(tmp_path: Path) -> None:
    saved(tmp_path, state("b.arrow", "a.arrow", _split="test"), "a.arrow", "b.arrow")
    assert names(tmp_path) == ["b.arrow", "a.arrow"]
    assert locate(tmp_path, "test", "train").split == "test"
    with pytest.raises(DataError, match=r"is one saved data set of split test \(got split: train\)"):
        locate(tmp_path, "train", "train")


def test_a_saved_data_set_may_have_no_split(tmp_path: Path) -> None:
    saved(tmp_path, state("a.arrow"), "a.arrow")
    assert locate(tmp_path, None, "train").split is None
    with pytest.raises(DataError, match=r"saved data set and has no splits \(got split: train\)"):
        locate(tmp_path, "train", "train")


def test_a_saved_dataset_dict_has_its_splits(tmp_path: Path) -> None:
    fill(tmp_path, "dataset_dict.json")
    saved(tmp_path / "test", state("a.arrow"), "a.arrow")
    assert names(tmp_path, "test") == ["test/a.arrow"]
    with pytest.raises(DataError, match=r"no split train \(got splits: test\)"):
        locate(tmp_path, None, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (state("a.arrow"), r"is not complete \(got no a.arrow, which state.json names\)"),
        (state(), "contains no rows"),
        (state("a.arrow", _indices_data_files=[{"filename": "i.arrow"}]), "index of selected rows"),
        ({"_split": None}, r"was not written by datasets' save_to_disk \(got KeyError"),
        ([], r"was not written by datasets' save_to_disk \(got TypeError"),
    ],
)
def test_a_damaged_saved_data_set_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        locate(saved(tmp_path, content), None, "train")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    fill(tmp_path, "in/train.csv")
    (tmp_path / "in").chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot be read \(got Permission denied\)"):
            locate(tmp_path / "in", None, "train")
    finally:
        (tmp_path / "in").chmod(0o700)
