"""vLLM: a server that a run starts for its own model, and ends."""
