import pytest

from summtune.generation.endpoint.statistics import is_model


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("llama3.2", "LLAMA3.2:latest", True),
        ("/models/tiny", "/models/tiny@main", True),
        ("gpt-4o", "gpt-3.5-turbo", False),
        ("gpt-4o-mini", "gpt-4o", False),
    ],
)
def test_a_date_or_a_folder_does_not_make_another_model(asked, answered, same):
    assert is_model(asked, answered) is same
