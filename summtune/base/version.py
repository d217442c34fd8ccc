"""The version of summtune."""

__version__ = "0.1.0"
