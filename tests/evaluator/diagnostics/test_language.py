import pytest

from summtune.evaluator.diagnostics import language
from summtune.evaluator.diagnostics.language import main_script
from summtune.evaluator.diagnostics.words import words

ENGLISH = ["#Person1# wants to borrow the steam iron for a street market until Sunday. #Person2# lends it."]
DIALOGUE = frozenset(["hi", "can", "i", "borrow", "your", "steam", "iron", "sure", "until", "sunday"])


def other_language(text, references, dialogue_words):
    return language.other_language(text, frozenset(words(text)), references, dialogue_words)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#Person1# möchte das Bügeleisen bis Sonntag für einen Straßenmarkt leihen.", "de, not en"),
        ("#Person1# veut emprunter le fer à repasser pour un marché jusqu'à dimanche.", "fr, not en"),
        ("#Person1#想借熨斗", "Han letters, not Latin"),
        ("Он хочет утюг", "Cyrillic letters, not Latin"),
        ("مرحبا كيف حالك", "Arabic letters, not Latin"),
    ],
)
def test_another_language_is_found(text, found):
    assert other_language(text, ENGLISH, DIALOGUE) == found


@pytest.mark.parametrize(
    "text",
    [
        "#Person2# lends #Person1# something.",
        "Both agree about a loan of some household item for the upcoming event.",
        "Ja, sehr gern.",
        "Tom and Łukasz Ćwik meet.",
        "xx yy zz aa bb cc dd",
        "#Person1# asks 田中 for the steam iron",
        "",
        "?!",
        "🙂🙂🙂",
        "\x00",
        "42",
    ],
)
def test_the_same_language_or_a_short_text_is_not_reported(text):
    assert other_language(text, ENGLISH, DIALOGUE) is None


def test_the_language_is_compared_with_that_of_the_references():
    german = ["Er möchte das Bügeleisen bis Sonntag für einen Straßenmarkt leihen, und sie gibt es ihm gern."]
    assert other_language("Er fragt sie, ob er sich den Wagen ausleihen kann.", german, frozenset()) is None
    assert (
        other_language("He asks her whether he could have their car for some days.", german, frozenset())
        == "en, not de"
    )


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("abc", "LATIN"),
        ("ab", None),
        ("ab дв", None),
        ("Привет", "CYRILLIC"),
        ("カタカナと漢字", "JAPANESE"),
        ("１２３", None),
    ],
)
def test_main_script_is_the_script_of_most_letters(text, script):
    assert main_script(text) == script
