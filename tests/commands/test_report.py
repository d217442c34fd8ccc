"""A report needs a finished run."""

import pytest

from summtune.base.errors import RunDirectoryError
from summtune.commands.report import write_report


def test_a_report_of_a_directory_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(
        RunDirectoryError, match=r"not a run directory \(got .*, without plan.json\); name a finished run"
    ):
        write_report(tmp_path, None)
