import json

import pytest

from summtune.report.diagnostics import DiagnosticRow, Example
from summtune.report.reader_data import CHUNK, reader_data, to_json
from summtune.report.scored_dialogues import DialogueScores, ScoredDialogue, SystemSummary


def dialogue(place, text="short"):
    return ScoredDialogue(
        f"id_{place}", text, ("a reference",), (SystemSummary("A", "a summary", "50.0", ("a note",)),)
    )


def made(dialogues, **changes):
    scores = DialogueScores(("rouge1",), ((tuple(place / 7 for place in range(len(dialogues))),),))
    return reader_data(dialogues, scores, ["A"], pair=(0, 0), **changes)


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "\u2028\u2029", 'quote " and \\', "{{ x }}", "é 中"])
def test_embedded_json_closes_no_element_and_is_read_back_unchanged(text):
    written = to_json([text])
    assert "<" not in written
    assert "\u2028" not in written
    assert json.loads(written) == [text]


def test_chunks_contain_the_dialogues_in_order():
    data = made([dialogue(place) for place in range(2 * CHUNK + 1)])
    rows = [row for chunk in data.chunks for row in json.loads(chunk)]
    assert [len(json.loads(chunk)) for chunk in data.chunks] == [CHUNK, CHUNK, 1]
    assert rows[CHUNK] == [f"id_{CHUNK}", "short", ["a reference"], [["a summary", "a note"]]]
    assert data.held == len(rows)


def test_reader_data_has_scores_only_of_its_dialogues():
    data = made([dialogue(place) for place in range(5)], budget=160)
    index = json.loads(data.index)
    assert data.held == len(index["ids"]) == len(index["scores"][0][0]) == 2
    assert index["scores"][0][0][1] == pytest.approx(1 / 7, abs=1e-6)
    assert index["metrics"] == [{"title": "ROUGE-1", "scale": 100, "digits": 1, "better": 1}]


def test_the_first_dialogue_is_included_regardless_of_its_length():
    assert made([dialogue(0, "long " * 1000), dialogue(1)], budget=100).held == 1


def test_the_budget_counts_bytes_of_utf_8():
    latin, other = ([dialogue(place, text * 100) for place in range(40)] for text in ("ab", "中中"))
    assert made(latin, budget=6_000).held > 2 * made(other, budget=6_000).held


def test_only_checks_with_examples_on_the_page_can_be_selected():
    examples = (Example("A", "id_1", "x"), Example("B", "id_1", "y"), Example("A", "id_4", "z"))
    checks = [
        DiagnosticRow("Names", "m", ((1, 5),), "–", examples),
        DiagnosticRow("Cap", "m", ((1, 5),), "–", examples[2:]),
    ]
    data = made([dialogue(place) for place in range(5)], budget=160, checks=checks)
    assert data.check_titles == ("Names",)
    assert json.loads(data.index)["checks"] == [["id_1"]]
