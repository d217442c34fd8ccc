import pytest

from summtune.base.errors import InputError, RunDirectoryError
from summtune.base.strict import Count, Measure, StrictModel, parse_model, read_model, read_model_lines


class Part(StrictModel):
    texts: tuple[str, ...]


class Whole(StrictModel):
    count: Count
    score: Measure | None
    part: Part
    note: str | None = None


GIVEN = {"count": 3, "score": 0.5, "part": {"texts": ["a"]}}


def test_fields_that_were_not_given_are_not_written(tmp_path):
    whole = Whole(count=3, score=0.5, part=Part(texts=("a",)))
    assert whole.to_json() == GIVEN
    assert Whole(count=3, score=0.5, part=Part(texts=("a",)), note=None).to_json() == GIVEN | {"note": None}
    assert parse_model(Whole, GIVEN, "here") == whole
    (tmp_path / "a.json").write_text('{"part": {"texts": ["a"]}, "score": 0.5, "count": 3}')
    assert read_model(Whole, tmp_path / "a.json") == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3.0}, r"here: count: .*integer.* \(got 3\.0\); restore the file, or delete it .another version"),
        ({"count": True}, r"count: .* \(got True\)"),
        ({"count": -1}, r"count: .*greater than or equal to 0 \(got -1\)"),
        ({"count": 2**63}, r"count: .* \(got 9223372036854775808\)"),
        ({"score": "0.5"}, r"score: .*valid number \(got '0\.5'\)"),
        ({"score": float("nan")}, r"score: .*finite number \(got nan\)"),
        ({"score": 1e101}, r"score: .* \(got 1e\+101\)"),
        ({"part": {"texts": [1]}}, r"part\.texts\.0: .*valid string \(got 1\)"),
        ({"part": {}}, r"here: part\.texts: Field required; restore"),
        ({"more": "x" * 99}, r"more: Extra inputs are not permitted \(got 'x{59}\)"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(change, message):
    with pytest.raises(RunDirectoryError, match=message):
        parse_model(Whole, GIVEN | change, "here")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", b"[" * 9999, b'{"count": ' + b"9" * 5000 + b"}", b'"\\ud800"'])
def test_a_file_that_is_not_json_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"a\.json: Invalid JSON: .*; restore the file, or delete it"):
        read_model(Whole, tmp_path / "a.json")


def test_a_pipe_is_not_read(tmp_path):
    with pytest.raises(InputError, match=r"not a regular file \(got /dev/null, a device\)"):
        list(read_model_lines(Whole, tmp_path.joinpath("/dev/null")))


def test_a_wrong_line_is_named_by_its_number(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"texts": ["a"]}\n{"texts": [null]}\n')
    lines = read_model_lines(Part, tmp_path / "a.jsonl")
    assert next(lines) == Part(texts=("a",))
    with pytest.raises(RunDirectoryError, match=r"a\.jsonl, line 2: texts\.0: .*valid string \(got None\)"):
        next(lines)


def test_a_model_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Part(texts=()).texts = ("b",)
