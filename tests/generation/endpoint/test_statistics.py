import pytest

from summtune.generation.endpoint.statistics import is_model


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", True),
        ("llama3.2", "LLAMA3.2:latest", True),
        ("/models/tiny", "/models/tiny@main", True),
        ("claude-sonnet-4", "claude-sonnet-4-20250514", True),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", True),
        ("gpt-4", "gpt-4-0613", True),
        ("gemini-1.5-pro", "gemini-1.5-pro-002", True),
        ("Qwen/Qwen3-4B", "qwen3-4b", True),
        ("qwen3-4b", "/models/Qwen3-4B", True),
        ("Qwen/Qwen3-4B", "/models/Qwen/Qwen3-4B", True),
        ("/models/qwen3-4b.gguf", "qwen3-4b.gguf", True),
        ("qwen3-4b", "/models/qwen3-4b.gguf", True),
        ("tgi", "HuggingFaceTB/SmolLM2-135M-Instruct", True),
        ("default", "/models/qwen3-4b.gguf", True),
        ("gpt-4", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4", "gpt-4.1", False),
        ("gpt-4", "gpt-4.1-2025-04-14", False),
        ("gpt-4", "gpt-4-32k-0613", False),
        ("o1", "o1-mini", False),
        ("qwen3", "qwen3-coder", False),
        ("qwen3", "qwen3-8b", False),
        ("llama3", "llama3.2", False),
        ("claude-opus-4", "claude-opus-4-1-20250805", False),
        ("meta/llama-3-8b", "other/llama-3-8b", False),
        ("gpt-4o", "gpt-3.5-turbo", False),
        ("gpt-4o-mini", "gpt-4o", False),
    ],
)
def test_a_date_or_a_folder_does_not_make_another_model(asked, answered, same):
    assert is_model(asked, answered) is same
