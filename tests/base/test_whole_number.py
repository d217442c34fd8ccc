import pytest

from summtune.base.whole_number import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("999999999", 999_999_999)])
def test_plain_digits_are_parsed(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", " 1", "-1", "+1", "1.0", "1_0", "²", "٣", "１", "1" * 10, "9" * 5000, "\udcff"])
def test_text_other_than_plain_digits_gives_none(text):
    assert whole_number(text) is None
