"""Reading of dialogues, from the place of a file over its rows and columns to dialogues with all their references."""
