import pytest

from summtune.evaluator.diagnostics.chinese_numbers import chinese_numbers, with_figures


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("十", 10),
        ("十二", 12),
        ("二十五", 25),
        ("一百零五", 105),
        ("三百二", 320),
        ("三千五百", 3500),
        ("一万二千", 12_000),
        ("一万二", 12_000),
        ("两亿三千万", 230_000_000),
        ("二〇二四", 2024),
    ],
)
def test_a_number_in_characters_is_read(written, value):
    assert value in chinese_numbers(f"大概{written}个")


@pytest.mark.parametrize(
    ("written", "figures"),
    [
        ("3万", "30000"),
        ("1.2億円", "120000000円"),
        ("1万2千", "12000"),
        ("1万2", "12000"),
        ("5千克", "5千克"),
        ("10:30", "10:30"),
    ],
)
def test_figures_followed_by_scale_characters_are_written_out(written, figures):
    assert with_figures(written) == figures


def test_an_overlong_row_of_characters_is_not_a_number():
    assert chinese_numbers("兆" * 10_000) == set()
    assert with_figures("1" * 50_000 + "会") == "1" * 50_000 + "会"
