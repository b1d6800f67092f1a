"""A file to named tensors and what it says beside them. It knows no architecture."""
