"""Scores what systems wrote, one protocol for all of them; nothing here needs torch."""
