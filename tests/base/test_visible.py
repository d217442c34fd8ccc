import pytest

from summtune.base.visible import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a␀b"),
        ("a\x1b[31mb", "a␛[31mb"),
        ("a\x7f\x85", "a␡⟨U+0085⟩"),
        ("user\u202etxt.exe", "user⟨U+202E⟩txt.exe"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\r\nb\rc\td\n", "a\nb␍c\td\n"),
        ("a\u200bb\u00adc\ufeffd\U000e0041", "a⟨U+200B⟩b⟨U+00AD⟩c⟨U+FEFF⟩d⟨U+E0041⟩"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
        ("שלום 你好 é", "שלום 你好 é"),
    ],
)
def test_hidden_and_direction_changing_characters_are_shown(text, shown):
    assert visible(text) == shown


def test_one_line_has_no_line_ends():
    assert one_line("a\n\tb \r\n c\x00") == "a b c␀"
