"""Exports every published size, and checks its parameters and multiply-accumulates."""
