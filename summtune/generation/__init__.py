"""The torch-free half of generation: the interface of a generator, and what is done once for all of them."""
