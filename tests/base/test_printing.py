"""Output for people and for programs."""

import io
import json
import sys

import pytest

from summtune.base.printing import json_text, say, say_lines, show, show_data, show_json, use_any_encoding

CLEARS = "\x1b[2J"


def test_a_message_shows_control_characters_as_signs(capsys):
    say(f"error: no such file (got {CLEARS}\x9b1A\r\x08)")
    assert capsys.readouterr().err == "error: no such file (got ␛[2J⟨U+009B⟩1A␍␈)\n"


def test_a_value_in_a_message_cannot_forge_another_message(capsys):
    say("error: no such file (got a\nerror: all is well); check it")
    say_lines(["a.yaml:1:1: wrong (got x\nb.yaml: fine)", "b.yaml: wrong"])
    assert capsys.readouterr().err.splitlines() == [
        "error: no such file (got a",
        "  error: all is well); check it",
        "a.yaml:1:1: wrong (got x␊b.yaml: fine)",
        "b.yaml: wrong",
    ]


def test_printed_answers_show_control_characters_as_signs(capsys):
    show(f"out/{CLEARS}/report.html")
    assert capsys.readouterr().out == "out/␛[2J/report.html\n"


def test_data_is_unchanged_in_a_pipe_and_made_visible_on_a_terminal(capsys, monkeypatch):
    show_data(f"A summary{CLEARS}.")
    assert capsys.readouterr().out == f"A summary{CLEARS}.\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_data(f"A summary{CLEARS}.")
    assert capsys.readouterr().out == "A summary␛[2J.\n"


@pytest.mark.parametrize(
    "value", ["é 你好 😀", CLEARS, "\x7f\x9b", "\u202e\u2066", "\ud800", "\U000e0041", "a\n\tb", {"\x9b": [1.5, None]}]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_printed_json_keeps_its_value_and_escapes_control_characters(value, encoding):
    text = json_text(value, encoding)
    assert json.loads(text) == value
    assert text.encode(encoding)
    assert not set(text) & set(map(chr, [*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x202E, 0xD800, 0xE0041]))


def test_printed_json_does_not_escape_letters(capsys):
    show_json({"name": "Łódź"}, indent=None)
    assert capsys.readouterr().out == '{"name": "Łódź"}\n'


def test_characters_that_the_encoding_lacks_are_printed_as_escapes(monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    use_any_encoding()
    show("é")
    say("\ud800")
    streams[0].flush()
    assert [stream.buffer.getvalue() for stream in streams] == [b"\\xe9\n", b"\\u27e8U+D800\\u27e9\n"]
