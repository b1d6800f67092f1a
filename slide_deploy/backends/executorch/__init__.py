"""ExecuTorch: one target a delegate, and what they share. Its runtime for Python needs torch."""
