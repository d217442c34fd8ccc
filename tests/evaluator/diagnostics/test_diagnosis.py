"""The diagnostics of outputs in metrics.json."""

import time
from dataclasses import replace

import pytest
from made_up_results import training

from summtune.base.files import read_jsonl
from summtune.evaluator.diagnostics.diagnosis import diagnose
from summtune.runs.diagnostics import Finding, LeakedDialogues
from summtune.runs.records import Prediction

DIALOGUE = (
    "#Person1#: Hi Tom, can I borrow 20 dollars?\n"
    "#Person2#: Sure, here you are, and do not forget to pay it back on Friday."
)
REFERENCES = ("Tom lends #Person1# 20 dollars until Friday.", "#Person1# borrows twenty dollars from Tom.")
OF_TEXT = ("repetition", "copied", "speakers", "speaker_spelling", "names", "numbers", "length", "language")
HOSTILE = [
    "",
    "?!...",
    "🙂🙂🙂",
    "word " * 10_000,
    "\n\n\n",
    "\x00\x00",
    "\u202eabc\u202c",
    "#" * 50,
    "<script>",
    "\ud800",
]


def prediction(id_, text="Tom lends #Person1# some money until Friday.", references=REFERENCES, **changes):
    fields = {"prompt_tokens": 10, "new_tokens": 4, "truncated": False, "hit_length_cap": False, "dialogue": DIALOGUE}
    return Prediction(id=id_, prediction=text, references=references, **(fields | changes))


def counts(found):
    return {name: check.count for name, check in found.checks.items()}


def test_sound_predictions_give_means_and_no_warning():
    found = diagnose([prediction("a"), prediction("b", "Tom gives #Person1# 20 dollars.", new_tokens=8)])
    assert set(counts(found)) == {
        "unread_letters", "references_without_words", "empty", "constant", "equal_to_reference", "length_cap",
        "truncated", *OF_TEXT,
    }  # fmt: skip
    assert not any(counts(found).values())
    means = found.means
    assert (means["new_tokens"], means["prompt_tokens"], means["prediction_words"]) == (6, 10, 6)
    assert means["reference_words"] == 6.5
    assert means["length_ratio"] == pytest.approx((7 / 6.5 + 5 / 6.5) / 2)
    assert 0 < means["novel_1_grams"] < means["novel_2_grams"] <= means["novel_3_grams"] <= 1
    assert 0 < means["reference_novel_1_grams"] < 1
    assert found.warnings == ()


def test_empty_capped_and_truncated_outputs_are_counted_and_give_warnings():
    rows = [
        prediction(
            str(i), " \n" if i < 4 else f"text {i}", hit_length_cap=i == 5, truncated=i > 5, references=("one two",)
        )
        for i in range(8)
    ]
    found = diagnose(rows)
    assert [found.checks[name].count for name in ("empty", "length_cap", "truncated")] == [4, 1, 2]
    assert found.checks["empty"].examples[0] == Finding(id="0", found="")
    assert found.checks["length_cap"].examples == (Finding(id="5", found="…text 5"),)
    assert found.warnings[:3] == (
        "4 of 8 predictions are empty and score 0 (for instance 0, 1, 2).",
        "1 of 8 predictions hit max_new_tokens and may be cut short (for instance 5).",
        "2 of 8 dialogues were truncated to fit sequence_len (for instance 6, 7).",
    )
    assert found.checks["length"].count == 0


def test_one_text_for_more_than_half_of_the_dialogues_is_constant_output():
    same = [prediction(str(i), "The same. ") for i in range(3)]
    found = diagnose([*same, prediction("3", "x"), prediction("4", "y")]).checks["constant"]
    assert (found.count, found.examples[0]) == (3, Finding(id="0", found="The same."))
    rest = (prediction(str(i), f"text {i}") for i in range(3, 6))
    assert diagnose([*same, *rest]).checks["constant"].count == 0


def test_outputs_that_are_a_reference_are_counted_as_the_references_are():
    rows = [
        prediction("a", " Tom pays. ", references=("Tom will pay.", "Tom pays.\n")),
        prediction("b", "Tom PAYS.", references=("Tom pays.", "Tom pays. ")),
    ]
    found = diagnose(rows).checks["equal_to_reference"]
    assert (found.count, found.of, found.references) == (1, 2, 0.5)
    assert found.examples == (Finding(id="a", found="Tom pays."),)
    assert diagnose([prediction("a", references=("One.",))]).checks["equal_to_reference"].references is None


def test_one_dialogue_or_empty_outputs_are_not_called_constant():
    assert diagnose([prediction("a")]).checks["constant"].count == 0
    assert diagnose([prediction("a", ""), prediction("b", "")]).checks["constant"].count == 0


def test_references_that_rouge_cannot_read_give_a_warning():
    found = diagnose([prediction("zh", references=("English", "会议推迟了。"))])
    assert found.checks["references_without_words"].examples == (Finding(id="zh", found="会议推迟了。"),)
    assert "ROUGE against it is 0 for any output (for instance zh)" in found.warnings[1]


@pytest.mark.parametrize(
    ("check", "text", "found"),
    [
        ("repetition", "Tom pays it back. Tom pays it back.", "Tom pays it back"),
        (
            "copied",
            "Sure, here you are, and do not forget to pay it back",
            "sure here you are and do not forget to pay it back",
        ),
        ("speakers", "##Person4# lends #Person3# 20 dollars.", "##Person4#, #Person3#"),
        ("speaker_spelling", "##Person2# lends Person 1 20 dollars.", "##Person2#, Person 1"),
        ("names", "Then Karen and Karen lend Tom 20 dollars.", "Karen"),
        ("numbers", "Tom lends #Person1# 25 dollars.", "25"),
        ("length", "Tom lends.", "2 words, 0.31 times the references'"),
        ("length", "Tom.", "1 word, 0.15 times the references'"),
        ("language", "Он хочет", "Cyrillic letters, not Latin"),
    ],
)
def test_each_check_of_a_text_finds_its_case_and_shows_it(check, text, found):
    entry = diagnose([prediction("a"), prediction("b", text)]).checks[check]
    assert (entry.count, entry.of, entry.references) == (1, 2, 0.0)
    assert entry.examples == (Finding(id="b", found=found),)


def test_the_same_checks_are_made_of_the_references():
    wrong = ("#Person1# asks Karen.", "#Person1# borrows 20 dollars until Friday.", "Then #Person1# and Karen meet.")
    rows = [prediction("a", references=wrong), prediction("b")]
    checks = diagnose(rows).checks
    assert checks["names"].references == pytest.approx(2 / 5)
    assert checks["names"].count == 0
    assert {checks[name].references for name in OF_TEXT if name != "names"} == {0.0}


def test_checks_against_other_references_are_none_with_one_reference():
    checks = diagnose([prediction("a", references=REFERENCES[:1])]).checks
    assert (checks["length"].references, checks["language"].references) == (None, None)
    assert checks["numbers"].references == 0.0


def test_checks_that_cannot_be_made_are_absent():
    unknown = {"prompt_tokens": None, "new_tokens": None, "truncated": None, "hit_length_cap": None, "dialogue": ""}
    found = diagnose([prediction("a", **unknown), prediction("b", **unknown)])
    assert set(found.checks) == {
        "unread_letters", "references_without_words", "empty", "constant", "equal_to_reference", "repetition", "length",
        "language",
    }  # fmt: skip
    means = found.means
    assert {means[key] for key in ("prompt_tokens", "new_tokens", "novel_1_grams", "reference_novel_3_grams")} == {None}
    some = diagnose([prediction("a", **unknown), prediction("b", hit_length_cap=True)]).checks
    assert (some["numbers"].of, some["length_cap"].of, some["length_cap"].count) == (1, 1, 1)


def test_leakage_and_unchanged_weights_become_checks():
    leakage = {
        "train": LeakedDialogues(count=7, of=500, examples=(Finding(id="a", found="x: 92 % of its five-word runs"),)),
        "exemplars": LeakedDialogues(count=0, of=500, examples=()),
    }
    found = diagnose([prediction("a")], leakage=leakage, training=training(unchanged_tensors=5, compared_tensors=5))
    checks = found.checks
    assert (checks["leakage_train"].count, checks["leakage_train"].of) == (7, 500)
    assert checks["leakage_train"].examples == leakage["train"].examples
    assert checks["leakage_exemplars"].count == 0
    assert (checks["weights_unchanged"].count, checks["weights_unchanged"].of) == (5, 5)
    assert [sentence[:30] for sentence in found.warnings] == [
        "7 of 500 test dialogues are al", "The model equals its base: all"
    ]  # fmt: skip


@pytest.mark.parametrize("trained", [None, training(unchanged_tensors=None, compared_tensors=None)])
def test_there_is_no_check_of_weights_that_were_not_compared(trained):
    assert "weights_unchanged" not in diagnose([prediction("a")], training=trained).checks


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_checked_like_others(text):
    found = diagnose(
        [prediction("a", text), prediction("b", references=(text or "x", "y")), prediction("c", dialogue=text)]
    )
    assert found.checks["empty"].count == (not text.strip())
    for check in found.checks.values():
        assert 0 <= check.count <= check.of
        assert all(len(example.found) <= 80 for example in check.examples)


@pytest.mark.real
def test_checks_find_few_references_of_dialogsum_and_take_seconds(test_data):
    rows = [
        Prediction(row["fname"], row["dialogue"], row["summary1"], (row["summary1"], row["summary2"], row["summary3"]),
                   None, None, None, None)
        for row in read_jsonl(test_data / "data" / "dialogsum" / "test.jsonl")
    ]  # fmt: skip
    started = time.process_time()
    checks = diagnose(rows).checks
    assert time.process_time() - started < 10
    human = {name: round(1500 * checks[name].references) for name in OF_TEXT}
    assert human == {
        "repetition": 0, "copied": 3, "speakers": 0, "speaker_spelling": 1, "names": 5, "numbers": 1,
        "length": 17, "language": 0,
    }  # fmt: skip
    leads = [replace(row, prediction=" ".join(row.dialogue.split("\n")[:3])) for row in rows]
    assert diagnose(leads).checks["copied"].count > 0.98 * len(rows)


CHINESE = {"dialogue": "客服：您好。\n王先生：我的订单三十号没有到。", "references": ("王先生问三十号订单。",)}


def test_unread_letters_are_the_first_check_and_in_the_means():
    found = diagnose(
        [prediction("a", "王先生问30号订单。", **CHINESE), prediction("b", "", **CHINESE)], tokenizer="rouge"
    )
    assert next(iter(found.checks)) == "unread_letters"
    assert found.warnings[0].startswith("ROUGE's tokenizer keeps only a-z and 0-9 and drops 100 % of the letters")
    assert found.means["reference_unread_letters"] == 1
    read = diagnose([prediction("a", "王先生问30号订单。", **CHINESE)], tokenizer="character")
    assert read.warnings == ()
    assert read.means["reference_unread_letters"] is None


def test_unread_letters_are_not_checked_without_rouge():
    found = diagnose([prediction("a", "王先生问30号订单。", **CHINESE)], tokenizer=None)
    assert not {"unread_letters", "references_without_words"} & found.checks.keys()


def test_notes_say_what_checks_do_not_cover_in_a_script():
    found = diagnose([prediction("a", "王先生问30号订单。", **CHINESE)], tokenizer="character")
    assert "names" not in found.checks
    assert found.checks["numbers"].count == 0
    assert [note.split(" ", 1)[0] for note in found.notes] == ["Numbers", "Names", "Lengths,"]
    assert diagnose([prediction("a")]).notes == ()


def test_length_is_counted_in_characters_without_spaces():
    texts = {"a": "王先生问三十号订单到了没有。", "b": "王先生问了好几次他的三十号订单到底什么时候能够送到他家里去。"}
    found = diagnose([prediction(id_, text, **CHINESE) for id_, text in texts.items()], tokenizer="character")
    assert [each.id for each in found.checks["length"].examples] == ["b"]


def test_a_respelled_tag_counts_as_spelling_not_as_an_absent_speaker():
    found = diagnose([prediction("a", "Tom lends Person 1 money."), prediction("b", "Tom lends Person 3 money.")])
    assert [each.id for each in found.checks["speaker_spelling"].examples] == ["a"]
    assert [each.id for each in found.checks["speakers"].examples] == ["b"]
