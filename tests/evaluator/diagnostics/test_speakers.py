import pytest

from summtune.evaluator.diagnostics.speakers import Misnamed, Speakers

TWO = Speakers("#Person1#: Hi.\n#Person2#: Hello, number 3.")


@pytest.mark.parametrize(
    "written",
    [
        "##Person2#",
        "#Person2",
        "Person2#",
        "Person2",
        "Person 2",
        "Person_2",
        "Person-2",
        "PERSON 2",
        "person2",
        "#person2#",
        "#PErson2#",
        "#Person 2#",
        "# Person2 #",
        "#Person_2#",
        "Person#2",
        "[Person2]",
        "(Person 2)",
        "<person2>",
        "＃Person2＃",
        "Speaker 2",
        "Speaker2",
        "P2",
    ],
)
def test_a_respelled_tag_is_not_an_absent_speaker(written):
    assert TWO.misnamed(f"#Person1# asks {written} about it.") == Misnamed(respelled=(written,))


@pytest.mark.parametrize(
    "written",
    ["#Person3#", "Person3", "Person 3", "#Person 3#", "#Person10#", "Person10", "Speaker 3", "#Person#", "#Anna#"],
)
def test_a_speaker_whom_the_dialogue_lacks_is_absent_in_any_spelling(written):
    assert TWO.misnamed(f"#Person1# asks {written} about it.") == Misnamed(absent=(written,))


@pytest.mark.parametrize(
    "text",
    [
        "#Person1# asks #Person2#'s friend.",
        "#Person1##Person2# meet.",
        "#Person1# #Person2# meet.",
        "#Person1#and #Person2#.",
        "He is number #1, a person 2 years old, and in flat P3.",
        "Personal matters of two persons.",
        "#personality",
        "",
        "#",
        "\x00🙂\u202e",
    ],
)
def test_correct_tags_and_plain_words_are_not_reported(text):
    assert TWO.misnamed(text) == Misnamed()


@pytest.mark.parametrize(
    ("dialogue", "summary", "absent", "otherwise"),
    [
        ("Anna: Hi.", "#Person1# meets Anna and #Anna#.", ["#Person1#"], ["#Anna#"]),
        ("Anna: Hi.", "Person1 is #1, says Anna#.", [], []),
        ("#CustomerService#: Hi.\n#User7#: Hello.", "#User7# calls #CustomerService#.", [], []),
        (
            "#CustomerService#: Hi.\n#User7#: Hello.",
            "#User8# calls ##CustomerService#, #Customer Service# and customer service.",
            ["#User8#"],
            ["##CustomerService#", "#Customer Service#"],
        ),
        ("#Person_1#: Hi.\n#Person_2#: Hello.", "#Person_1# meets #Person2#.", [], ["#Person2#"]),
        ("＃Person1＃：Hi.\n＃Person2＃：Hello.", "＃Person1＃ meets #Person2#.", [], ["#Person2#"]),
        (
            "Speaker A: Hi.\nSpeaker B: Hello.",
            "Speaker A meets speaker_b, [Speaker B] and Speaker C.",
            ["Speaker C"],
            ["speaker_b", "[Speaker B]"],
        ),
        ("speaker_a: Hi.\nspeaker_b: Hello.", "speaker_a meets Speaker B and speaker_c.", ["speaker_c"], ["Speaker B"]),
        (
            "[Doctor] Hi.\n[Patient] Hello.",
            "[Doctor] tells [patient], the doctor, [Nurse].",
            ["[Nurse]"],
            ["[patient]"],
        ),
        ("<speaker1> Hi.\n<speaker2> Hello.", "<speaker1>, Speaker 2, speaker3.", ["speaker3"], ["Speaker 2"]),
        ("P1: Hi.\nP2: Hello.", "P1 meets p2 and P3.", ["P3"], ["p2"]),
        ("Agent: Hi.\nCustomer: Hello.", "The Agent #1 serves Customer 5.", [], []),
        ("Anna: How?\nStep 1: mix.\nBob: Ah.", "Then comes Step 2.", [], []),
    ],
)
def test_the_kinds_of_speaker_labels_depend_on_the_dialogue(dialogue, summary, absent, otherwise):
    assert Speakers(dialogue).misnamed(summary) == Misnamed(tuple(absent), tuple(otherwise))


def test_a_speaker_number_does_not_match_a_longer_one():
    ten = Speakers("\n".join(f"#Person{number}#: Hi." for number in range(1, 12) if number != 2))
    assert ten.misnamed("Person 11 and Person10 meet Person2.") == Misnamed(("Person2",), ("Person 11", "Person10"))


def test_speakers_of_a_long_text_are_found_fast():
    assert TWO.misnamed("# " * 10_000 + "#" * 10_000) == Misnamed()
