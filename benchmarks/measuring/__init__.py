"""Drives candidates, each in a process of its own, and records what they say."""
