import pytest

from summtune.evaluator.speakers import tags, wrong_tags

TWO = tags("#Person1#: Hi.\n#Person2#: Hello, number 3.")


@pytest.mark.parametrize(
    "wrong",
    [
        "##Person2#",
        "#Person2",
        "Person2#",
        "#Person3#",
        "Person2",
        "#person2#",
        "#PErson2#",
        "# Person2 #",
        "#Person#",
        "#Anna#",
    ],
)
def test_a_tag_that_nobody_has_is_found(wrong):
    assert wrong_tags(f"#Person1# asks {wrong} about it.", TWO) == [wrong]


@pytest.mark.parametrize(
    "text",
    [
        "#Person1# asks #Person2#'s friend.",
        "#Person1##Person2# meet.",
        "#Person1# #Person2# meet.",
        "#Person1#and #Person2#.",
        "He is number #1, a person 2 years old.",
        "Personal matters of two persons.",
        "",
        "#",
        "\x00🙂\u202e",
    ],
)
def test_sound_tags_and_plain_words_are_not(text):
    assert wrong_tags(text, TWO) == []


def test_without_tags_in_the_dialogue_only_a_whole_tag_is_one():
    assert wrong_tags("#Person1# meets Anna.", tags("Anna: Hi.")) == ["#Person1#"]
    assert wrong_tags("Person1 is #1, says Anna#.", tags("Anna: Hi.")) == []


def test_other_tags_than_persons_are_known_by_the_dialogue():
    known = tags("#CustomerService#: Hi.\n#User7#: Hello.")
    assert wrong_tags("#User7# calls #CustomerService#.", known) == []
    assert wrong_tags("#User8# calls ##CustomerService#.", known) == ["#User8#", "##CustomerService#"]


def test_a_long_text_takes_no_time():
    assert wrong_tags("# " * 10_000 + "#" * 10_000, TWO) == []
