"""A report needs a finished run."""

import pytest

from summtune.base.errors import RunDirectoryError
from summtune.commands.report import write_report


def test_a_report_of_what_is_no_run_is_told(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"not a run directory \(got .*\); it has no plan.json"):
        write_report(tmp_path, None)
