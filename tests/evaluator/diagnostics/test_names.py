import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from summtune.evaluator.diagnostics.names import Lexicon, foreign_names, mentioned

DIALOGUE = (
    "#Person1#: Hi Tom, is O'Brien from Mexico? Does he use face book at McDonald's?\n#Person2#: Ask Mary-Ann Jones."
)
LEXICON = Lexicon([DIALOGUE, "the bank has a manager", "We saw Karen. We met Karen and the Smiths, and Peter."])


def found(text, dialogue=DIALOGUE):
    return foreign_names(text, mentioned(dialogue), LEXICON)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Then Suman calls.", ["Suman"]),
        ("#Person1# meets Jack's boss, Lee-Anne.", ["Jack's", "Lee-Anne"]),
        ("Karen calls. Peter calls.", ["Karen"]),
        ("They visit Łódź and Ömer.", ["Łódź", "Ömer"]),
        ("#Person1# Suman calls", ["Suman"]),
    ],
)
def test_names_that_the_dialogue_lacks_are_found(text, names):
    """A word at a sentence's beginning is a name only where the test set knows it for one: Karen twice, Peter once."""
    assert found(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "They ask Tom's friend O'Brien, the O'Briens, and TOM.",
        "The Mexican food, says Mary, and Jones agrees.",
        "They use Facebook at McDonalds and McDonald's.",
        "It is the Manager of the Bank. They meet on Monday in May, Mr. Tom.",
        'Nobody knows. Everybody asks: Why? "Perhaps" (Maybe) - Never.\nAgain',
        "They watch TV, take the IELTS, and fear STDs. I do, A does.",
        "",
        "...",
        "🙂",
        "\x00",
        "他们去银行",
    ],
)
def test_known_names_and_other_capitalized_words_are_not_foreign(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("summary", "dialogue"),
    [("the French wine", "wine from France"), ("he leaves for China", "Chinese food"), ("the German car", "in Germany"),
     ("in Britain", "a British car"), ("the United game", "of the USA")],
)  # fmt: skip
def test_countries_match_their_people(summary, dialogue):
    assert found(summary, dialogue) == []
    assert found(summary, "nothing of it") != []


def test_a_name_with_the_same_beginning_is_foreign():
    assert found("then Daniel calls", "Hi Danish!") == ["Daniel"]
    assert found("then Christine calls", "at Christmas") == ["Christine"]


@given(st.text())
@example("0A#0")  # a tag that follows a letter
def test_a_text_has_no_foreign_name_against_itself(text):
    assert foreign_names(text, mentioned(text), Lexicon([text])) == []


def test_names_among_ten_thousand_words_are_found_fast():
    assert found("Then Suman calls. " * 3_000) == ["Suman"] * 3_000
