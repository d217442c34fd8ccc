"""Generation with a model in this process."""
