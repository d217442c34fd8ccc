"""The commands of the command line, none of which imports torch."""
