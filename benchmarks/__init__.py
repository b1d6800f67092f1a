"""A callable to numbers. Reserved: nothing is measured yet."""
