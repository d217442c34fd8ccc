"""Models: loading, adapters, saving, and the differences between families."""
