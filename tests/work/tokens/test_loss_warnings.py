"""Warnings and remarks about what a tokenizer loses."""

import pytest

from summtune.runs.statistics import LossesOfTexts, LossTally, TextLosses
from summtune.work.tokens.loss_warnings import loss_remarks, loss_warnings


def tally(texts=1, tokens=0, characters=0, examples=(("a", "x"),)):
    return LossTally(texts=texts, tokens=tokens, characters=characters, examples=tuple(examples))


def lost(prompts=None, summaries=None, template="", texts=10, characters=1000):
    return TextLosses(
        template=template,
        prompts=LossesOfTexts(texts=texts, characters=characters, lost=prompts or {}),
        summaries=LossesOfTexts(texts=texts, characters=characters, lost=summaries or {}),
    )


def test_no_losses_give_no_warning():
    assert loss_warnings("train", lost()) == loss_remarks("train", lost()) == []


def test_a_script_without_tokens_recommends_another_model():
    (warning,) = loss_warnings("train", lost({"unknown": tally(10, 64, 800, [("c0", "客服"), ("c1", "客")])}))
    assert "no token for 80 % of the characters in dialogues: 10 of 10 dialogues have 64 unknown tokens" in warning
    assert "(for instance c0: 客服; c1: 客)" in warning
    assert warning.endswith("use a model whose tokenizer covers this script, such as google/mt5-small")


def test_a_sign_without_a_token_recommends_replacing_it():
    (warning,) = loss_warnings("train", lost(summaries={"unknown": tally(1, 1, 1, [("a", "~")])}))
    assert "no token for 0.1 % of the characters in summaries: 1 of 10 summaries have 1 unknown token" in warning
    assert "(for instance a: ~); replace them in the data, or use a model whose tokenizer has them" in warning


def test_losses_of_test_references_are_reported_as_a_ceiling():
    (warning,) = loss_warnings("test", lost(summaries={"unknown": tally(3, 0, 90)}))
    assert "3 of 10 reference summaries lose 90 characters" in warning
    assert "no output can equal these references and scores have a ceiling" in warning


@pytest.mark.parametrize(
    ("role", "effect"),
    [
        ("train", "train: the tokenizer loses the line breaks of 4 of 10 summaries: the model learns to write such "),
        (
            "test",
            "test: the tokenizer loses the line breaks of 4 of 10 reference summaries: the model cannot write them",
        ),
    ],
)
def test_lost_line_breaks_give_a_warning(role, effect):
    (warning,) = loss_warnings(role, lost(summaries={"lines": tally(4, examples=[("a", "\n")])}))
    assert warning.startswith(effect)
    assert warning.endswith("(for instance a)")


def test_control_characters_in_warnings_are_made_visible():
    (warning,) = loss_warnings("train", lost(summaries={"unknown": tally(1, 1, 2, [("a\x1b[2J", "\0\t")])}))
    assert "(for instance a␛[2J: ␀\\t)" in warning


def test_losses_of_the_template_are_a_warning():
    (warning,) = loss_warnings("train", lost(template="{~}"))
    assert warning == (
        "train: the tokenizer has no token for some characters in prompt_template (got {~}); replace them"
    )


def test_harmless_changes_are_remarks():
    found = lost({"control": tally(2, examples=[("a", "</s>")])}, {"spaces": tally(3, examples=[("b", "")])})
    assert loss_warnings("train", found) == []
    assert loss_remarks("train", found) == [
        "train: 2 of 10 dialogues contain the text of control tokens, which is encoded as text (for instance a: </s>)",
        "train: 3 of 10 summaries contain runs of spaces or tabs, which become one space (for instance b)",
    ]
