"""Checks on small trained networks that ``--lowering auto`` chooses the fastest form."""
