import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.evaluator.diagnostics.words import _WORD, SHOWN_CHARACTERS, characters_a_word, runs, shown, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#Person1#'s dog isn't  HERE, is_it?", ["#person1#", "s", "dog", "isn't", "here", "is", "it"]),
        ("会议 10点", ["会", "议", "10", "点"]),
        ("Der Käse", ["der", "käse"]),
        ("\x00 ... 🙂 \u202eabc\u202c", ["abc"]),
        ("", []),
    ],
)
def test_words_are_lower_case_and_tags_are_one(text, expected):
    assert words(text) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_ascii_pattern_finds_the_same_words(text):
    assert words(text) == _WORD.findall(text.lower())


@given(st.lists(st.text(min_size=1, max_size=3), max_size=12), st.integers(1, 5))
def test_runs_are_as_many_as_fit(sequence, length):
    found = list(runs(sequence, length))
    assert len(found) == max(0, len(sequence) - length + 1)
    assert all(list(run) == sequence[place : place + length] for place, run in enumerate(found))


def test_shown_text_is_one_short_line():
    assert shown("a\nb") == "a b"
    assert len(shown("word " * 50)) <= SHOWN_CHARACTERS
    assert shown("word " * 50).endswith("…")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मैं ठीक हूँ", ["मैं", "ठीक", "हूँ"]),
        ("ดื่มน้ำ", ["ดื่", "ม", "น้ำ"]),
        ("Cafe\u0301 l’été", ["cafe\u0301", "l’été"]),
    ],
)
def test_marks_do_not_split_words(text, expected):
    assert words(text) == expected


def test_unspaced_writing_counts_two_characters_per_word():
    assert characters_a_word(words("顾客问 iPhone 15")) == 2
    assert characters_a_word(words("The order 订单 is late")) == 1
    assert characters_a_word([]) == 1
