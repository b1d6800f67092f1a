"""Settings of this process and its children: signals, environment, PyTorch's global defaults."""
