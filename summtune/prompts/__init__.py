"""Prompts: templates and solved examples."""
