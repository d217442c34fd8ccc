"""Prompts in, outputs out: the interface of generators, and what has been generated so far."""
