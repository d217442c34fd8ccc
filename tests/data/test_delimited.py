"""Tables that are text, as programs and people write them."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from summtune.base.errors import DataError
from summtune.data.formats import read_rows
from summtune.data.rows import BadRow, Row

WANTED = frozenset({"id", "dialogue", "summary"})
RECORDS = [
    ("id", "dialogue", "summary"),
    ("007", "A: 3,5 % | 4;5\nB: \u2028really?\tYes", "null"),
    ("1.0", 'A: "hi", she said', "NA"),
    ("True", "A: x\0y", "'"),
]
ROWS = [dict(zip(RECORDS[0], record, strict=True)) for record in RECORDS[1:]]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, wanted: frozenset[str] | None = WANTED) -> list[Any]:
    return [
        dict(row.values) if isinstance(row, Row) else f"{row.position}: {row.problem}"
        for row in read_rows(path, path.name, wanted)
    ]


def delimited(separator: str, records: list[tuple[str, ...]] = RECORDS, before: str = "") -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    # csv of Python 3.10 takes no NUL.
    writer.writerows([tuple(field.replace("\0", "") for field in record) for record in records])
    return before + text.getvalue()


EXPECTED = [{key: value.replace("\0", "") for key, value in row.items()} for row in ROWS]


@pytest.mark.parametrize("name", ["a.csv", "a.TSV"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("wanted", [WANTED, None], ids=["columns named", "all columns"])
def test_the_separator_is_found(tmp_path: Path, name: str, separator: str, wanted: frozenset[str] | None) -> None:
    assert read(write(tmp_path / name, delimited(separator)), wanted) == EXPECTED


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_the_separator_of_a_sep_line_is_used_and_the_line_counted(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "a.csv", "\ufeff" + delimited(";", before=line))
    assert read(path) == EXPECTED
    assert next(read_rows(path, "a.csv", WANTED)).position.line == 3
    with pytest.raises(DataError, match=r"a.csv, line 3: not CSV"):
        read(write(path, line + 'id;dialogue;summary\n1;"a"b;c\n'))


def test_an_unusual_separator_is_read_if_a_sep_line_announces_it(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", delimited("^", before="sep=^\n"))) == EXPECTED


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        # One column of text that is full of separators.
        ("dialogue\na; b\nc | d; e\n", [{"dialogue": "a; b"}, {"dialogue": "c | d; e"}]),
        # More semicolons than commas, in the text.
        ("dialogue,summary\na;b;c;d,s\n", [{"dialogue": "a;b;c;d", "summary": "s"}]),
        ('"summary; short";"dialogue"\ns;a,b,c\n', [{"summary; short": "s", "dialogue": "a,b,c"}]),
        # A mistyped column leaves the separator clear.
        ("id;dialog;summary\n1;a,b;c\n", [{"id": "1", "dialog": "a,b", "summary": "c"}]),
    ],
)
def test_separators_inside_quoted_text_are_ignored(tmp_path: Path, content: str, rows: list[dict[str, str]]) -> None:
    assert read(write(tmp_path / "a.csv", content)) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (' dialogue , summary \n"a",b\n', [{"dialogue": "a", "summary": "b"}]),
        ('id, dialogue, summary\n1, "a, b", c\n', [{"id": "1", "dialogue": "a, b", "summary": "c"}]),
        (",dialogue,summary\n0,a,b\n1,c,d\n", [{"dialogue": "a", "summary": "b"}, {"dialogue": "c", "summary": "d"}]),
        ("dialogue,summary,,\na,b,,\nc,d\n", [{"dialogue": "a", "summary": "b"}, {"dialogue": "c", "summary": "d"}]),
        ("dialogue;summary\na;b;\n", [{"dialogue": "a", "summary": "b"}]),
        ("\n\ndialogue,summary\n\n   \na,b\n", [{"dialogue": "a", "summary": "b"}]),
        (
            "dialogue,summary,\na,b,c\n",
            ["a.csv, record 1 (line 2): 2 fields expected (got 3); quote commas and newlines"],
        ),
        (
            "dialogue\tsummary\na\tb\tc\n",
            ["a.csv, record 1 (line 2): 2 fields expected (got 3); quote tabs and newlines"],
        ),
        (
            "dialogue;summary\na\n",
            ["a.csv, record 1 (line 2): 2 fields expected (got 1); quote semicolons and newlines"],
        ),
    ],
    ids=[
        "blanks",
        "blank after each",
        "index",
        "trailing",
        "trailing in rows",
        "blank lines",
        "lost",
        "wide",
        "narrow",
    ],
)
def test_odd_headers_and_records_are_read(tmp_path: Path, content: str, rows: list[object]) -> None:
    assert read(write(tmp_path / "a.csv", content)) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (";;\n1;2;3\n", r"a.csv is empty \(got no header\)"),
        ("dialogue; dialogue \n1;2\n", r"has duplicate column names \(got dialogue, dialogue\)"),
    ],
)
def test_an_empty_header_or_duplicate_names_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.csv", content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le-bom", "utf-16-be-bom", "utf-8-sig"])
def test_utf16_files_of_excel_and_powershell_are_read(tmp_path: Path, encoding: str) -> None:
    marked = encoding.endswith("-bom")
    text = ("\ufeff" if marked else "") + delimited("\t")
    assert read(write(tmp_path / "a.csv", text.encode(encoding.removesuffix("-bom")))) == EXPECTED


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_utf16_without_a_byte_order_mark_or_damaged_is_reported(tmp_path: Path, name: str) -> None:
    text = '{"dialogue": "a", "summary": "b"}\n' if name == "a.jsonl" else "dialogue,summary\na,b\n"
    with pytest.raises(
        DataError, match=rf"{name} looks like UTF-16 \(got NUL in every second byte, without a byte order"
    ):
        read(write(tmp_path / name, text.encode("utf-16-le")))
    with pytest.raises(DataError, match=rf"{name} .*not valid UTF-16 \(got .*trunc"):
        read(write(tmp_path / name, text.encode("utf-16") + b"x"))


@pytest.mark.parametrize(
    ("line", "likely"),
    [
        ("Caf\xe9 – “quoted”".encode("cp1252"), r"convert it \(it looks like Windows-1252\)$"),
        ("Привет, как дела".encode("cp1251"), "convert it$"),
    ],
    ids=["Windows-1252", "another script"],
)
def test_the_likely_encoding_is_named(tmp_path: Path, line: bytes, likely: str) -> None:
    with pytest.raises(DataError, match=r"a.csv, line 2: not UTF-8 \(got byte 0x.. at offset \d+\); " + likely):
        read(write(tmp_path / "a.csv", b"dialogue,summary\n" + line + b",b\n"))
    (row,) = read_rows(write(tmp_path / "a.jsonl", b'{"dialogue": "' + line + b'"}'), "a.jsonl", WANTED)
    assert isinstance(row, BadRow)
    assert row.problem.endswith(likely.removesuffix("$").replace("\\", ""))
