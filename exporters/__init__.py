"""A lowered model to a file, proven right."""
