"""A comparison needs finished runs."""

import pytest

from summtune.base.errors import InputError, RunDirectoryError
from summtune.commands.compare import compare_runs


def test_a_comparison_of_fewer_than_two_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a comparison needs at least two runs \(got 1\); name their directories"):
        compare_runs([tmp_path], as_json=True)


def test_a_comparison_with_a_directory_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(
        RunDirectoryError, match=r"not a finished run \(got no plan.json\); give its `summtune run` command"
    ):
        compare_runs([tmp_path, tmp_path], as_json=True)
