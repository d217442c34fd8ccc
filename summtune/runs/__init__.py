"""The content of a run directory: stages, checkpoints, events and records."""
