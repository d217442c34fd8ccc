"""What a machine and a model need of each other: devices, model shapes, memory, what fits."""
