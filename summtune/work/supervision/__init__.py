"""Proof that a training teaches what is asked of the model later."""
