"""LiteRT: its interpreter with XNNPACK, with its own kernels, or with a delegate."""
