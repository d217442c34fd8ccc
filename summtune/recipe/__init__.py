"""The recipe: its keys, and how a file is read and validated."""
