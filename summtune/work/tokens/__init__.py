"""Texts as tokens: prompts, labels, and what a tokenizer loses."""
