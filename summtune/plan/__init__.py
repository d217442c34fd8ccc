"""The plan of a run: everything that its stages need to know, resolved once."""
