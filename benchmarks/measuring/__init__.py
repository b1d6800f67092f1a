"""Runs each candidate in a process of its own and records the measurements."""
