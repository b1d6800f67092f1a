"""Compares folded ``.onnx`` files of other exporters with our export of the same checkpoint."""
