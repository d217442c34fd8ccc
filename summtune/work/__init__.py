"""The side of summtune that imports torch; only `summtune.worker` imports it."""
