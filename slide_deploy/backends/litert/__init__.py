"""LiteRT's interpreter with XNNPACK, with its own kernels, or with an external delegate."""
