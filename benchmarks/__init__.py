"""A callable to numbers."""
