import pytest

from summtune.work.generation import local
from summtune.work.generation.decoding import generate


@pytest.fixture
def batch_sizes(monkeypatch):
    """The number of prompts of each batch that is generated."""
    sizes = []

    def counted(model, tokenizer, prompts, config, *more):
        sizes.append(len(prompts))
        return generate(model, tokenizer, prompts, config, *more)

    monkeypatch.setattr(local, "generate", counted)
    return sizes
