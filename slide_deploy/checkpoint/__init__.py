"""Read named tensors and stated settings from a checkpoint. Depends on no architecture."""
