"""Errors that users read: their positions, order and exit codes."""

import errno

import pytest

from summtune.base import errors
from summtune.base.errors import InputError, Problem, RecipeError, StageError, SummtuneError, os_error_text


def test_a_problem_names_file_line_and_column():
    assert str(Problem("seed is odd", "a.yaml", 3, 7)) == "a.yaml:3:7: seed is odd"


def test_a_problem_of_an_override_has_no_line():
    assert str(Problem("seed is odd", "--set seed=x")) == "--set seed=x: seed is odd"


def test_a_recipe_error_lists_all_its_problems_in_order():
    problems = [Problem("first", "a.yaml", 1, 1), Problem("second", "a.yaml", 2, 1)]
    error = RecipeError(problems)
    assert str(error) == "a.yaml:1:1: first\na.yaml:2:1: second"
    assert error.problems == tuple(problems)


def test_a_recipe_error_without_problems_is_a_programming_error():
    with pytest.raises(AssertionError, match="at least one problem"):
        RecipeError([])


@pytest.mark.parametrize("name", ["RecipeError", "DataError", "ModelError", "RunDirectoryError", "ComparisonError"])
def test_input_errors_are_value_errors_with_exit_code_2(name):
    kind = getattr(errors, name)
    assert issubclass(kind, InputError)
    assert issubclass(kind, ValueError)
    assert kind.exit_code == 2


def test_a_stage_that_failed_has_exit_code_1_and_names_its_log():
    error = StageError("the train stage failed", "logs/train.rank0.log")
    assert isinstance(error, RuntimeError)
    assert isinstance(error, SummtuneError)
    assert (error.exit_code, error.log, str(error)) == (1, "logs/train.rank0.log", "the train stage failed")


def test_a_problem_is_one_line_even_if_it_quotes_line_ends():
    assert str(Problem("wrong (got a\nb\x1b[2J)", "a\n.yaml", 1, 2)) == "a␊.yaml:1:2: wrong (got a␊b␛[2J)"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "File name too long (got x)"),
        (OSError("odd"), "odd"),
        (OSError(errno.ENOSPC, "No space", "x"), "no space is left on the disk (got x); free some, and run the same "),
    ],
)
def test_an_os_error_is_reported_with_its_file(error, text):
    assert os_error_text(error).startswith(text)
