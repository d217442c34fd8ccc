"""DeepSpeed configs: reading, rules and the memory that ZeRO needs."""
