"""Core ML through coremltools, with one target per choice of compute units."""
