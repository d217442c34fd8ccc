"""Faster operations for T5 on CPUs; the package works without this folder's kernels."""
