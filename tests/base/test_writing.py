import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.base.writing import characters, has_capitals, script, unicode_words, word_count

ASCII = st.text(alphabet=st.characters(max_codepoint=127))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Das Haus ist GROß, 3x!", ["das", "haus", "ist", "gross", "3x"]),
        ("Он пришёл в 10:30", ["он", "пришёл", "в", "10", "30"]),
        ("मैं ठीक हूँ।", ["मैं", "ठीक", "हूँ"]),
        ("كَيفَ حالُك؟", ["كَيفَ", "حالُك"]),
        ("مرحبـــا", ["مرحبا"]),
        ("می‌خواهم", ["میخواهم"]),
        ("Tất cả mọi người", ["tất", "cả", "mọi", "người"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("ＡＢＣ１２ ﬁn", ["abc12", "fin"]),
        ("I ❤️ it 👍🏽", ["i", "it"]),
        ("don't snake_case", ["don", "t", "snake", "case"]),
        ("", []),
        ("\x00\ud800?!", []),
    ],
)
def test_words_of_any_script_are_runs_of_letters_marks_and_digits(text, words):
    assert unicode_words(text) == words
    assert unicode_words(unicodedata.normalize("NFD", text)) == words
    assert characters(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我的iPhone 15还没到。", ["我", "的", "iphone", "15", "还", "没", "到"]),
        ("コーヒーを飲む", ["コ", "ー", "ヒ", "ー", "を", "飲", "む"]),
        ("ｺｰﾋｰ", ["コ", "ー", "ヒ", "ー"]),
        ("น้ำดื่ม ๑๒", ["น้ำ", "ดื่", "ม", "๑๒"]),
        ("葛\U000e0100城", ["葛", "城"]),
    ],
)
def test_in_scripts_without_spaces_each_character_with_its_marks_is_a_word(text, words):
    assert characters(text) == words


@given(ASCII)
def test_ascii_text_is_split_into_the_words_of_rouge_score(text):
    assert unicode_words(text) == characters(text) == re.findall("[a-z0-9]+", text.lower())


@given(st.text())
def test_characters_and_unicode_words_contain_the_same_text(text):
    assert "".join(characters(text)) == "".join(unicode_words(text))


@pytest.mark.parametrize(
    ("text", "count"), [("It's a well-known fact.", 4), ("我的 iPhone 15", 4), ("", 0), ("हम हैं", 2)]
)
def test_word_count_counts_characters_in_scripts_without_spaces(text, count):
    assert word_count(text) == count


@pytest.mark.parametrize(
    ("text", "capitals"), [("abc", True), ("Он", True), ("", True), ("会议 ok", True), ("会议", False), ("हम", False)]
)
def test_has_capitals_depends_on_the_script(text, capitals):
    assert has_capitals(text) is capitals


@pytest.mark.parametrize(
    ("character", "name"),
    [("ж", "Cyrillic"), ("会", "Han"), ("ß", "Latin"), ("ー", "Katakana"), ("1", None), ("\u0301", None)],
)
def test_script_names_the_script_of_a_letter(character, name):
    assert script(character) == name
