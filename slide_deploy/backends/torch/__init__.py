"""PyTorch on its devices, with and without ``torch.compile``."""
