"""Forty references, and what a good and a poor system might make of them."""

REFERENCES = [f"person one asks person two about plan number {i} and they agree on day {i % 7}" for i in range(40)]
GOOD = [" ".join(text.split()[: 9 + i % 5]) for i, text in enumerate(REFERENCES)]
POOR = [" ".join(text.split()[i % 6 : i % 6 + 3]) + f" noise {i}" for i, text in enumerate(REFERENCES)]
