import pytest

from summtune.evaluator.diagnostics.repetition import repeated


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He buys the red car. He pays. He buys the red car.", "He buys the red car"),
        ("the the the the the the", "the"),
        ("They go to the the bank to the bank to the bank to the bank.", "the bank to"),
        ("asks about the price, asks about the price and asks about the price", "asks about the price"),
        ("他去银行他去银行他去银行", "他 去 银 行"),
    ],
)
def test_a_loop_is_found(text, found):
    assert repeated(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no! He will never sell it.",
        "#Person1# wants to go. #Person2# wants to stay. #Person3# wants to eat.",
        "Yes. He is. Yes. He is.",
        "The patient states that she is well. "
        + " ".join(f"w{i}" for i in range(60))
        + " the patient states that it helps "
        "and the patient states that she sleeps.",
        "",
        "...",
        "🙂🙂🙂🙂🙂🙂",
        "\x00\n\n\u202e",
    ],
)
def test_ordinary_repetition_in_speech_is_not_a_loop(text):
    assert repeated(text) is None


def test_loops_among_ten_thousand_words_are_found_fast():
    assert repeated(" ".join(f"w{i}" for i in range(10_000))) is None
    assert repeated("word " * 10_000) == "word"


@pytest.mark.parametrize(
    "text",
    [
        "他说他说他说他说他说他说他说",
        "你好。我们明天上午开会吧。我们明天上午开会吧。",
        "मैं बहुत ठीक हूँ। मैं बहुत ठीक हूँ।",
        "هو يريد أن يذهب؟ هو يريد أن يذهب؟",
    ],
)
def test_loops_are_found_in_scripts_without_spaces(text):
    assert repeated(text)


@pytest.mark.parametrize("text", ["哈哈哈哈哈", "王先生询问订单，客服说星期五到，王先生询问地址。", "很好。很好。"])
def test_ordinary_repetition_without_spaces_is_not_a_loop(text):
    assert repeated(text) is None
