import pytest

from summtune.runs.stopping import Stopping


@pytest.mark.parametrize(("ended", "warns"), [(64, False), (58, False), (57, True), (0, True)])
def test_fewer_than_nine_of_ten_are_a_warning(ended, warns):
    found = Stopping.of("validation", [at >= ended for at in range(64)])
    assert (found.dialogues, found.ended) == (64, ended)
    assert (found.warning is not None) == warns
    assert str(found) == f"{ended} of 64 validation dialogues"


def test_the_warning_has_the_counts_and_the_advice():
    warning = Stopping(role="test", dialogues=500, ended=12).warning
    assert "12 of 500 test dialogues" in warning
    assert "train longer" in warning
