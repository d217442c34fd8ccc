"""Reads dialogues: locates files, parses their rows and columns, and groups the references of each dialogue."""
