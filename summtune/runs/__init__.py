"""What a run directory holds: stages, checkpoints, events and records."""
