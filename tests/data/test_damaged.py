"""Data files with randomly changed bytes are read, or refused with a message that names them."""

import gzip
import json
import random
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from summtune.base.errors import DataError
from summtune.data.columns import Columns, checked
from summtune.data.external_predictions import PredictionColumns, read_external_predictions
from summtune.data.formats import open_rows, read_rows

ROWS = [
    {
        "id": str(at),
        "dialogue": f"Anna: Is {at} late?\nBen: é, yes",
        "summaries": [f"One {at}.", "Two."],
        "summary": "A.",
    }
    for at in range(6)
]
COLUMNS = Columns("dialogue", ("summaries", "summary"), "id")


def write(path, kind):
    table = pa.Table.from_pylist(ROWS)
    match kind:
        case "parquet":
            pq.write_table(table, path)
        case "plain parquet":
            pq.write_table(table, path, compression="none", use_dictionary=False)
        case "stream":
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        case "feather":
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        case "jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
        case "json":
            path.write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-8")
        case "csv" | "utf-16 csv":
            lines = "".join(f'{row["id"]};"{row["dialogue"]}";"A."\n' for row in ROWS)
            path.write_text("id;dialogue;summary\n" + lines, encoding="utf-16" if kind.startswith("utf") else "utf-8")
    return path.read_bytes()


def damaged(content, number):
    """Return the content with a few bytes changed, cut off or zeroed, as ``number`` decides."""
    rng = random.Random(number)
    changed, place = bytearray(content), rng.randrange(len(content))
    match number % 5:
        case 0:
            changed[place] ^= 1 << rng.randrange(8)
        case 1:
            changed[place] = rng.choice([0, 1, 127, 128, 255])
        case 2:
            del changed[place:]
        case 3:
            end = min(len(changed), place + rng.randrange(1, 40))
            changed[place:end] = bytes(end - place)
        case _:
            for _ in range(rng.randrange(2, 10)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "ending", "least"),
    [
        ("parquet", ".parquet", 100),
        ("plain parquet", ".parquet", 100),
        ("stream", ".arrow", 100),
        ("feather", ".arrow", 100),
        ("jsonl", ".jsonl", 50),
        ("json", ".json", 50),
        ("csv", ".csv", 20),
        ("utf-16 csv", ".csv", 20),
    ],
)
def test_a_damaged_file_is_read_or_refused_with_its_name(tmp_path, kind, ending, least):
    path = tmp_path / f"data{ending}"
    columns = Columns("dialogue", ("summary",), "id") if "csv" in kind else COLUMNS
    content = write(path, kind)
    assert len(list(checked(open_rows(path, "my data", columns.wanted)[1], columns.record))) == 6
    messages = []
    for number in range(200):
        path.write_bytes(damaged(content, number))
        try:
            list(checked(open_rows(path, "my data", columns.wanted)[1], columns.record))
        except DataError as error:
            messages.append(str(error))
    assert len(messages) >= least
    assert [text for text in messages if "my data" not in text] == []


def test_a_column_name_that_is_not_utf_8_is_reported_as_damage(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(write(path, "parquet").replace(b"dialogue", b"dial\xffgue"))
    with pytest.raises(DataError, match=r"^my data is not a readable Parquet file \(got .*utf-8.*write it again"):
        list(read_rows(path, "my data", COLUMNS.wanted))


def test_an_offset_outside_an_arrow_file_is_refused(tmp_path):
    path = tmp_path / "data.arrow"
    batch = pa.record_batch({name: ["x" * 0x1234] for name in ("id", "dialogue", "summary")})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    before, _, after = path.read_bytes().rpartition(struct.pack("<ii", 0, 0x1234))
    path.write_bytes(before + struct.pack("<ii", 0, 0x7FFFFFFF) + after)
    with pytest.raises(DataError, match="my data is not a readable Arrow file"):
        list(read_rows(path, "my data", None))


def save(path, **columns):
    batch = pa.record_batch(columns)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_batches([batch]), path)
        return
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)


@pytest.mark.parametrize("ending", [".arrow", ".parquet"])
@pytest.mark.parametrize("shape", ["plain", "large", "list", "struct", "dictionary"])
def test_text_that_is_not_utf_8_is_reported_with_its_row(tmp_path, shape, ending):
    plain = pa.array([b"fine", b"not \xff"], pa.binary()).view(pa.string())
    text = {
        "plain": plain,
        "large": pa.array([b"fine", b"not \xff"], pa.large_binary()).view(pa.large_string()),
        "list": pa.ListArray.from_arrays([0, 1, 2], plain),
        "struct": pa.StructArray.from_arrays([plain], ["text"]),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), plain),
    }[shape]
    save(path := tmp_path / f"data{ending}", id=pa.array(["a", "b"]), dialogue=pa.array(["A", "B"]), summary=text)
    rows = list(read_rows(path, "my data", None))
    assert [str(row.position) for row in rows] == ["my data, row 1", "my data, row 2"]
    assert rows[1].problem == "text that is not UTF-8 (got byte 0xff); convert it"


def test_a_column_of_nulls_of_absurd_length_is_not_read(tmp_path):
    save(path := tmp_path / "data.arrow", dialogue=pa.nulls(0x12345), summary=pa.nulls(0x12345))
    assert sum(1 for _ in read_rows(path, "my data", None)) == 0x12345
    path.write_bytes(path.read_bytes().replace(struct.pack("<q", 0x12345), struct.pack("<q", 1 << 40)))
    with pytest.raises(
        DataError, match=r"my data is not a readable Arrow file .*1,099,511,627,776 rows without any value"
    ):
        list(read_rows(path, "my data", None))


@pytest.mark.parametrize("kind", ["parquet", "stream"])
def test_damaged_prediction_files_are_refused(tmp_path, kind):
    path = tmp_path / ("out.parquet" if kind == "parquet" else "out.arrow")
    content = write(path, kind)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"out\.(parquet|arrow) is not a readable \w+ file"):
        read_external_predictions(str(path), PredictionColumns(), with_references=False)


def test_a_compressed_file_under_another_name_is_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(gzip.compress(write(path, "jsonl"))[:-9])
    with pytest.raises(DataError, match="my data, line 1"):
        list(checked(read_rows(path, "my data", COLUMNS.wanted), COLUMNS.record))
