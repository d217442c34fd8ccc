"""summtune: a YAML recipe in, a dialogue-summarization result that can be trusted out."""

__version__ = "0.1.0"
