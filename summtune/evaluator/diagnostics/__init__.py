"""What is wrong with summaries that a score does not show."""
