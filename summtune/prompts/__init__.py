"""What a model is asked: templates and solved examples."""
