import pytest

from summtune.generation.thinking import opens_thought, split_thinking, thought_warnings
from summtune.runs.records import Prediction


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("They greet. ", "They greet.", None),
        ("", "", None),
        ("<think>\nLet me see.\n</think>\n\nThey greet.", "They greet.", "Let me see."),
        ("Let me see.\n</think>\n\nThey greet.", "They greet.", "Let me see."),
        ("<think>\n\n</think>\n\nThey greet.", "They greet.", None),
        ("</think>They greet.", "They greet.", None),
        ("<think>Let me", "", "Let me"),
        ("<think>\n", "", ""),
        ("<think>a</think>", "", "a"),
        ("They greet. <think>a</think> They part. <think>b", "", "a\n\nb"),
        ("They greet. <think>a</think> They part.", "They greet.\nThey part.", "a"),
        ("a</think>b</think>They greet.", "They greet.", "a\n\nb"),
        ("<think>a <think>b</think>They greet.", "They greet.", "a\n\nb"),
    ],
)
def test_the_thought_is_taken_out_of_the_text(text, answer, thinking):
    assert split_thinking(text) == (answer, thinking)


def test_an_output_that_begins_within_a_thought_has_no_text_before_its_end():
    assert split_thinking("Let me see. They", opened=True) == ("", "Let me see. They")
    assert split_thinking("Let me.</think>They greet.", opened=True) == ("They greet.", "Let me.")
    assert split_thinking("<think>Let me.</think>They greet.", opened=True) == ("They greet.", "Let me.")


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [("…assistant\n<think>\n", True), ("<think>", True), ("<think>\n\n</think>\n\n", False), ("<think> A: Hi.", False)],
)
def test_a_prompt_opens_a_thought_where_it_ends_with_the_marker(prompt, opens):
    assert opens_thought(prompt) is opens


def made(text, thinking=None):
    return Prediction("a", "A: Hi.", text, ("Hi.",), 9, 4, False, hit_length_cap=not text, thinking=thinking)


def test_thoughts_and_those_without_a_summary_are_reported():
    assert thought_warnings([made("They greet."), made("")]) == []
    had, unfinished = thought_warnings([made("They greet.", "hm"), made("", "hm"), made("x")])
    assert had == "test: 2 of 3 outputs had a thought (<think>…</think>), which is not part of the prediction"
    assert unfinished.startswith("test: 1 of 3 outputs ended before a summary")
    assert "chat_template_kwargs: {enable_thinking: false}" in unfinished
    assert "max_new_tokens" in unfinished
