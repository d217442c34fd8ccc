"""The recipe: its keys, and how a file becomes one that holds no mistake."""
