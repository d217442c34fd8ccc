"""Hub data sets and models, through the real process: from a cache, from a local hub, and without either."""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import COMMIT, FakeHub, serve
from PIL import Image

from summtune.base.errors import DataError, ModelError
from summtune.data.formats import open_rows
from summtune.data.hub_access import FetchedDataset, FetchedModel, fetch_dataset, fetch_model
from summtune.data.reading import SourceInfo, read_dialogues
from summtune.data.rows import Row
from summtune.recipe.sections import DatasetSource
from summtune.runs.records import Dialogue

CSV = b"id,dialogue,summary\nt0,A: hi,Greets.\nt0b,A: hi,Says hi.\nt1,B: bye,Leaves.\n"
DATA_SET = {"README.md": b"# Dialogues\n", "train.csv": CSV, "test.csv": CSV}
MODEL = {"config.json": b"{}", "model.safetensors": b"x", "spiece.model": b"x"}
SHARDED = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": b"x",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
}
SOURCE = DatasetSource(path="someone/dialogues")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache, no network, and none of the user's environment variables."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "helpers"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(FakeHub({"datasets/someone/dialogues": DATA_SET})) as served:
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def cached(home: Path, kind: str, name: str, files: dict[str, bytes]) -> Path:
    """Write the cache's own layout: blobs, a snapshot of links to them, and the ref of the main branch."""
    repository = home / "hub" / f"{kind}--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for number, (file, content) in enumerate(files.items()):
        (repository / "blobs" / str(number)).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{number}")
    return snapshot


COLUMNS = ("dialogue", "summary")


def rows(fetched: FetchedDataset) -> list[dict[str, object]]:
    streams = [open_rows(file.path, "x", None, None, "train", file.kind)[1] for file in fetched.files]
    return [dict(row.values) for stream in streams for row in stream if isinstance(row, Row)]


# From the cache


def test_a_cached_model_is_found_without_the_network(home: Path) -> None:
    snapshot = cached(home, "models", "someone/model", MODEL)
    assert fetch_model("someone/model", None) == FetchedModel(snapshot, COMMIT)
    assert fetch_model("someone/model", COMMIT) == FetchedModel(snapshot, COMMIT)


def test_a_model_without_safetensors_is_refused(home: Path) -> None:
    snapshot = cached(home, "models", "someone/model", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    files = r"\(got config.json, pytorch_model.bin\)"
    message = rf"model someone/model: its copy in {snapshot} has no safetensors weights {files}"
    with pytest.raises(ModelError, match=message):
        fetch_model("someone/model", None)


def test_a_model_that_lacks_a_shard_is_refused(home: Path) -> None:
    cached(home, "models", "someone/model", SHARDED)
    with pytest.raises(ModelError, match=r"not complete \(got no model-00002-of-00002.safetensors, one of 1 missing"):
        fetch_model("someone/model", None)


def test_a_cached_data_set_is_read_without_the_network(home: Path, tmp_path: Path) -> None:
    cached(home, "datasets", "someone/dialogues", DATA_SET)
    fetched = fetch_dataset(SOURCE, "test", tmp_path, COLUMNS)
    assert fetched.revision == COMMIT
    assert rows(fetched)[2] == {"id": "t1", "dialogue": "B: bye", "summary": "Leaves."}


# From a hub


def test_a_hub_data_set_is_read_grouped_and_found_offline_afterwards(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SOURCE.model_copy(update={"id_field": "id", "limit": 1})
    online = read_dialogues([source], "test")
    assert online.dialogues == [Dialogue("t0", "A: hi", ("Greets.", "Says hi."))]
    assert online.sources == (SourceInfo("someone/dialogues", "test", 1, COMMIT),)
    assert not any("agent" in path or "telemetry" in path for path in hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert read_dialogues([source], "test") == online
    assert read_dialogues([source.model_copy(update={"revision": COMMIT})], "test") == online
    with pytest.raises(
        DataError, match=rf"revision v1 is not in the cache .* \(got {COMMIT}\); set `revision` to that"
    ):
        read_dialogues([source.model_copy(update={"revision": "v1"})], "test")


def test_formats_without_a_reader_are_read_by_datasets(home: Path) -> None:
    lines = b'{"file_name": "0.png", "id": "007", "dialogue": "A: hi", "summaries": ["Greets.", "Says hi."]}\n'
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    cached(home, "datasets", "someone/dialogues", {"metadata.jsonl": lines, "0.png": picture.getvalue()})
    source = SOURCE.model_copy(update={"id_field": "id", "summary_field": "summaries"})
    assert read_dialogues([source], "train").dialogues == [Dialogue("007", "A: hi", ("Greets.", "Says hi."))]
    columns = "image of type Image, id, dialogue, summaries"
    with pytest.raises(DataError, match=rf"no column dialog, did you mean dialogue\? \(got columns: {columns}\)"):
        read_dialogues([source.model_copy(update={"dialogue_field": "dialog"})], "train")
    with pytest.raises(DataError, match=rf"image is not text \(got a column of type Image; all columns: {columns}\)"):
        read_dialogues([source.model_copy(update={"dialogue_field": "image"})], "train")


CARD = b"""---
configs:
- config_name: default
  names: [id, dialogue, summary]
  data_files: [{split: train, path: train.csv}]
---
"""


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv.gz": gzip.compress(b"id,dialogue,summary\n007,A: hi,null\n1,NA,2\n")},
        {"README.md": CARD, "train.csv": b"007,A: hi,null\n1,NA,2\n"},
    ],
    ids=["compressed", "columns named in the card"],
)
def test_values_of_a_hub_csv_stay_text(home: Path, files: dict[str, bytes]) -> None:
    cached(home, "datasets", "someone/dialogues", files)
    found = read_dialogues([SOURCE.model_copy(update={"id_field": "id"})], "train").dialogues
    assert found == [Dialogue("007", "A: hi", ("null",)), Dialogue("1", "NA", ("2",))]


def test_a_copy_prepared_by_datasets_is_read_if_there_is_no_other(
    hub: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b'{"id": 1, "dialogue": "A: hi", "summaries": ["Greets.", "Says hi."], "nested": {"a": [1]}}\n'
    hub.repositories["datasets/someone/dialogues"] = {"test.jsonl": lines}
    code = "import datasets; datasets.load_dataset('someone/dialogues')"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    shutil.rmtree(home / "hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = SOURCE.model_copy(update={"id_field": "id", "summary_field": "summaries"})
    reading = read_dialogues([source], "test")
    assert reading.dialogues == [Dialogue("1", "A: hi", ("Greets.", "Says hi."))]
    assert reading.sources[0].revision == COMMIT
    with pytest.raises(DataError, match=rf"revision v1 is not in the cache .*datasets \(got {COMMIT}\)"):
        read_dialogues([source.model_copy(update={"revision": "v1"})], "test")
    with pytest.raises(DataError, match=r"nested must be a string \(got an object\)"):
        read_dialogues([source.model_copy(update={"summary_field": "nested"})], "test")


def test_problems_in_hub_rows_name_the_data_set_and_row(hub: FakeHub) -> None:
    hub.repositories["datasets/someone/dialogues"] = {"train.csv": b"dialog,summary\na,b\n"}
    message = (
        r"someone/dialogues \(split train\), train.csv, record 1 \(line 2\): no column dialogue, did you mean dialog\?"
    )
    with pytest.raises(DataError, match=message):
        read_dialogues([SOURCE], "train")


def test_a_wrong_split_or_configuration_is_reported_with_the_existing_ones(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data set someone/dialogues: .*no split dev \(got splits: train, test\)"):
        fetch_dataset(SOURCE, "dev", tmp_path, COLUMNS)
    with pytest.raises(DataError, match=r"BuilderConfig 'small' not found. Available: \['default'\]"):
        fetch_dataset(SOURCE.model_copy(update={"name": "small"}), "train", tmp_path, COLUMNS)


def test_a_hub_model_is_fetched_without_pickles_and_subfolders(hub: FakeHub) -> None:
    hub.repositories["models/someone/model"] = MODEL | {"pytorch_model.bin": b"x", "onnx/model.safetensors": b"x"}
    fetched = fetch_model("someone/model", None)
    assert {file.name for file in fetched.path.iterdir()} == set(MODEL)
    assert fetched.revision == COMMIT


def test_a_hub_model_is_fetched_without_weights_where_they_are_not_needed(hub: FakeHub) -> None:
    hub.repositories["models/someone/model"] = MODEL
    fetched = fetch_model("someone/model", None, weights=False)
    assert {file.name for file in fetched.path.iterdir()} == {name for name in MODEL if ".safetensors" not in name}
    assert not any("safetensors" in path for path in hub.asked if "/resolve/" in path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("GatedRepo", r"access is restricted \(got: gated\); request it at .*someone/secret, then `hf auth login`"),
        ("RepoNotFound", r"not found on the hub.* \(got someone/secret\); .*`hf auth login` if it is private"),
    ],
)
def test_hub_errors_are_reported_with_advice(hub: FakeHub, tmp_path: Path, answer: str, message: str) -> None:
    hub.repositories |= {"models/someone/secret": answer, "datasets/someone/secret": answer}
    with pytest.raises(ModelError, match="model someone/secret: " + message):
        fetch_model("someone/secret", None)
    with pytest.raises(DataError, match="data set someone/secret: " + message):
        fetch_dataset(DatasetSource(path="someone/secret"), "train", tmp_path, COLUMNS)


def test_an_unknown_revision_is_reported(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["models/someone/model"] = MODEL
    with pytest.raises(
        ModelError, match=r"no such revision \(got v9\); see https://huggingface.co/someone/model/commits"
    ):
        fetch_model("someone/model", "v9")
    with pytest.raises(DataError, match=r"no such revision \(got v9\); see .*/datasets/someone/dialogues/commits"):
        fetch_dataset(SOURCE.model_copy(update={"revision": "v9"}), "train", tmp_path, COLUMNS)


def test_the_cache_is_used_while_the_hub_is_down(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    online = fetch_dataset(SOURCE, "train", tmp_path, COLUMNS)
    hub.repositories |= {"datasets/someone/dialogues": "Down", "models/someone/model": "Down"}
    down = fetch_dataset(SOURCE, "train", tmp_path / "1", COLUMNS)
    assert (down.revision, rows(down)) == (online.revision, rows(online))
    with pytest.raises(ModelError, match=r"the hub cannot be reached \(got .*503.* and there is no copy in"):
        fetch_model("someone/model", None)


# Not at all


@pytest.mark.parametrize(
    ("offline", "why"),
    [("1", r"offline mode is on \(HF_HUB_OFFLINE\)"), ("0", r"cannot be reached \(got .*Connection refused\)")],
)
def test_without_a_hub_or_cache_the_error_comes_quickly_with_advice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str, why: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    started = time.monotonic()
    with pytest.raises(
        ModelError, match=rf"{why} and there is no copy in {home}/hub; run `hf download a/b` .*base_model"
    ):
        fetch_model("a/b", None)
    command = "hf download someone/dialogues --repo-type dataset"
    with pytest.raises(
        DataError, match=rf"{why} .*no copy in {home}/hub and {home}/datasets; run `{command}` .*HF_HOME"
    ):
        fetch_dataset(SOURCE, "train", tmp_path, COLUMNS)
    assert time.monotonic() - started < 15, "without the check beforehand `datasets` alone tries for 25 seconds"


def test_an_invalid_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a valid hub id \(got a b\); write owner/name"):
        fetch_model("a b", None)
    with pytest.raises(DataError, match=r"not a valid hub id \(got a b\); write owner/name"):
        fetch_dataset(DatasetSource(path="a b"), "train", tmp_path, COLUMNS)


def test_a_local_folder_with_the_name_of_a_hub_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "someone" / "dialogues").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"the current folder contains an entry of this name \(got .*/someone/dialogues\)"
    ):
        fetch_dataset(SOURCE, "train", tmp_path, COLUMNS)


def test_a_disk_error_while_writing_rows_is_reported(home: Path, tmp_path: Path) -> None:
    cached(home, "datasets", "someone/dialogues", {"test.txt": b"A: hi\n"})
    with pytest.raises(DataError, match=r"could not be fetched \(got FileNotFoundError: .*no/rows.arrow"):
        fetch_dataset(SOURCE, "test", tmp_path / "no", ["text"])


def test_a_hub_process_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "huggingface_hub.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "summtune").symlink_to(Path(__file__).parents[2] / "summtune")
    with pytest.raises(ModelError, match=r"model a/b: the process that fetches it died \(got signal 9\)"):
        fetch_model("a/b", None)
    (tmp_path / "huggingface_hub.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ModelError, match=r"died \(got exit code 3\)"):
        fetch_model("a/b", None)


def test_hub_access_imports_none_of_the_hubs_libraries() -> None:
    libraries = {"datasets", "huggingface_hub", "pyarrow", "torch"}
    code = f"import sys, summtune.data.reading; print({libraries} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
