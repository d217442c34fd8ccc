from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.evaluator.sentences import sentences, splitting


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("They meet. They talk! Do they agree? Yes.", 4),
        ("Mr. Smith meets Ms. Dawson and Dr. Wu at 10 a.m. on Monday.", 1),
        ("U.S. citizens pay $3.50. Others pay more.", 2),
        ("#Person1# asks #Person2# for No. 5 vs. No. 6. #Person2# agrees.", 2),
        ('He said "Go. Now." and left.', 1),
        ("no full stop", 1),
        ("one line\nanother line", 2),
        ("会议推迟了。大家同意。", 2),
        ("...", 1),
        ("", 0),
        (" \n \n", 0),
    ],
)
def test_sentences_of_summaries(text, count):
    assert len(sentences(text)) == count


@pytest.mark.parametrize("blank", ["\u00a0", "\u2009", "\u3000", "\u2028", "\u0085", "\x1c"])
def test_white_space_that_makes_the_splitter_panic_is_a_space(blank):
    assert sentences(f"Take vitamin K{blank}. Then rest.") == sentences("Take vitamin K . Then rest.")


def test_a_line_end_ends_a_sentence_even_after_an_abbreviation():
    assert sentences("She is a Ms.\nHe left.") == ["She is a Ms.", "He left."]


@given(st.text(max_size=80))
def test_nothing_is_lost_but_line_ends_and_white_space(text):
    assert "".join("".join(sentences(text)).split()) == "".join(text.replace("\n", "").split())


def test_the_protocol_names_the_splitter_and_its_version():
    assert splitting(True) == f"sentencex {version('sentencex')}"
    assert splitting(False) == "newline"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("今日は休みです。明日は？行く！", 3),
        ("他说：「好。」她走了。", 2),
        ("هل وصلت الطلبية؟ نعم، وصلت. شكرا.", 3),
        ("आप कैसे हैं? मैं ठीक हूँ। धन्यवाद।", 3),
        ("یہ ٹھیک ہے۔ وہ گیا۔", 2),
        ("Он пришёл. Она ушла! Да?", 3),
        ("ｱｲｳ｡ｶｷ｡", 2),
    ],
)
def test_sentences_end_with_the_marks_of_other_scripts(text, count):
    assert len(sentences(text)) == count
