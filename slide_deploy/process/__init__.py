"""This process and those it starts: signals, Python's environment, PyTorch's global settings."""
