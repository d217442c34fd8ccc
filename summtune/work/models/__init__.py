"""Models: loading, adapters, saving, and what a family of models needs."""
