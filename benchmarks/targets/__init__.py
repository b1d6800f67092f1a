"""A target is a runtime on a device: a file in, a callable out. `registry.TARGETS` lists them."""
