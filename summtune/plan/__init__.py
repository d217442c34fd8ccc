"""The plan of a run: everything that its stages need, resolved once."""
