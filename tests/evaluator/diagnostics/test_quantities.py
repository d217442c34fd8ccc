import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.evaluator.diagnostics.quantities import Numbers, foreign_numbers


def found(summary, dialogue):
    return foreign_numbers(summary, Numbers(dialogue))


@pytest.mark.parametrize(
    ("summary", "dialogue"),
    [
        ("5 books", "five books"),
        ("twenty-five books", "25 books"),
        ("on the 5th", "the fifth of it"),
        ("at 10:30", "half past ten"),
        ("at 10:45", "a quarter to eleven"),
        ("at 4:00 pm", "at four in the afternoon"),
        ("at 16:00", "at four in the afternoon"),
        ("for $3.50", "three fifty"),
        ("1,250 dollars", "one thousand two hundred and fifty dollars"),
        ("a hundred and fifty", "150"),
        ("5 thousand, 5k and 5000", "5,000"),
        ("on 07/29/2008", "July twenty ninth two thousand eight"),
        ("in 1999", "nineteen ninety nine"),
        ("in 1999 and '99", "back in 1999"),
        ("in 2008", "in oh eight"),
        ("call 5551234", "five five five, one two three four"),
        ("2.5 litres", "two point five litres"),
        ("12 eggs", "a dozen eggs"),
        ("his 60s", "in his sixties"),
        ("140/90", "one forty over ninety"),
        ("two reasons, first and third, 1 more", "nothing"),
        ("#Person4# and Person9 agree", "nothing"),
        ("1. He came.\n4. He went. 5. He won.", "nothing"),
        ("80%", "eighty percent"),
        ("", "nothing"),
        ("🙂 ... \x00", ""),
    ],
)
def test_a_number_is_known_in_any_notation(summary, dialogue):
    assert found(summary, dialogue) == []


@pytest.mark.parametrize(
    ("summary", "dialogue", "numbers"),
    [
        ("bus 173", "bus 713", ["173"]),
        ("twenty-six books", "25 books", ["twenty-six"]),
        ("at 10:45 and 9:30", "half past ten", ["10:45", "9:30"]),
        ("for $3.60", "three fifty", ["3.60"]),
        ("two hundred and fifty", "two hundred", ["two hundred and fifty"]),
        ("5 million", "5 thousand", ["5 million"]),
        ("in 1998", "in 1999", ["1998"]),
        ("٧ books", "five books", ["٧"]),
        ("192.168.0.9", "192.168.0.7", ["192.168.0.9"]),
    ],
)
def test_a_number_that_the_dialogue_lacks_is_found(summary, dialogue, numbers):
    assert found(summary, dialogue) == numbers


@given(st.integers(4, 10**9))
def test_a_number_is_foreign_unless_the_dialogue_has_it(number):
    assert found(f"It costs {number:,} dollars.", f"That is {number} dollars.") == []
    assert found(f"It costs {number} dollars.", f"That is {number:,} dollars.") == []
    assert found(f"It costs {number} dollars.", "That is cheap.") == [str(number)]


@given(st.text())
def test_a_text_has_no_foreign_number_against_itself(text):
    assert found(text, text) == []


@given(st.from_regex(r"([0-9]{1,4}[ :.,/-]|(five|twenty|hundred|half|oh|point|million)[ -]|#){0,30}", fullmatch=True))
def test_many_numbers_have_no_foreign_number_against_themselves(text):
    found(text, "five")
    found("five", text)


def test_ten_thousand_numbers_are_read_fast():
    assert found("nine " * 10_000, "nine " * 10_000) == []
    assert found("9" * 10_000, "seven") == ["9" * 10_000]


@pytest.mark.parametrize(
    "summary",
    ["They invited twenty. Five came.", "Of twenty, five came.", "Of twenty (five came).", "Five, then twenty."],
)
def test_two_adjacent_numbers_of_a_summary_are_not_one(summary):
    assert found(summary, "I invited twenty people, and just five of them came.") == []
    assert found("It costs one hundred. Two people came.", "Nothing.") == ["one hundred"]


@pytest.mark.parametrize(
    ("summary", "dialogue", "numbers"),
    [
        ("他要3500元，12个，13个", "我要三千五百块，十二个", ["13"]),
        ("他们15:30见面，不是16:20", "下午三点半见", ["16:20"]),
        ("払うのは30000円、４万円ではない", "３万円です", ["40000"]),
        ("30 و 45.5 و ٤٦", "الساعة ٣٠ و ٤٥٫٥", ["٤٦"]),
        ("250 और २६०", "कीमत २५० है", ["२६०"]),
    ],
)
def test_digits_of_every_script_and_chinese_numbers_are_compared(summary, dialogue, numbers):
    assert found(summary, dialogue) == numbers
