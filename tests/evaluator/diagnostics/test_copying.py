import pytest
from hypothesis import given
from hypothesis import strategies as st

from summtune.evaluator.diagnostics.copying import Source, copied, novel_shares, own_words

DIALOGUE = (
    "#Person1#: Good morning, I would like to open an account at this bank today.\n"
    "#Person2#: Of course, please show me your passport first.\nAnna: Here it is, and this is my money."
)
SOURCE = Source(DIALOGUE)


def found(text):
    return copied(own_words(text), SOURCE)


@pytest.mark.parametrize(
    "text",
    [
        DIALOGUE,
        " ".join(DIALOGUE.split("\n")[:2]),
        "#Person1# says: good morning I would like to open an account at this bank, cheers to all of you.",
        "PLEASE SHOW ME YOUR PASSPORT FIRST. Here it is, and this is my money",
    ],
)
def test_a_copied_summary_is_found(text):
    assert found(text)


@pytest.mark.parametrize(
    "text",
    ["#Person1# opens an account at the bank and shows #Person2# a passport.", "Here it is.", "", "?!", "🙂", "\x00"],
)
def test_a_newly_written_summary_is_not_copied(text):
    assert found(text) is None


def test_novel_words_are_counted_each_time_they_occur():
    # a b | c new: of "a b c c" two words are new, of its three pairs two, of its two triples both.
    assert novel_shares(list("abcc"), Source("a b")) == [pytest.approx(2 / 4), pytest.approx(2 / 3), 1.0]
    assert novel_shares(["a"], Source("a b")) == [0.0, None, None]
    assert novel_shares([], Source("")) == [None, None, None]


def test_speaker_labels_are_not_novel_and_do_not_break_runs():
    assert novel_shares(own_words("Anna says course please show"), SOURCE)[0] == pytest.approx(1 / 5)
    assert novel_shares(own_words("today of course"), SOURCE) == [0.0, 0.0, 0.0]


@given(st.text())
def test_a_text_has_no_novel_words_against_itself(text):
    assert all(share in (0.0, None) for share in novel_shares(own_words(text), Source(text)))


CHINESE = (
    "客服：您好，请问有什么可以帮您？\n王先生：我的订单还没有到，能不能帮我查一下是什么原因，谢谢。\n"
    "客服：星期五会送到。"
)


def test_copies_are_longer_in_characters_than_in_words():
    def lifted(text):
        return copied(own_words(text), Source(CHINESE))

    assert lifted("您好，请问有什么可以帮您？我的订单还没有到，能不能帮我查一下是什么原因")
    assert lifted("王先生的订单还没有到，客服答应查一下原因，说星期五会送到。") is None
