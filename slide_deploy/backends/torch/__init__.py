"""PyTorch: its devices, as they are and compiled, and what they share."""
