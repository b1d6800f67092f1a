"""Trace a network to a ``torch.export`` program, query it and change it."""
