"""The process of a worker: start, company, signals, precision."""
