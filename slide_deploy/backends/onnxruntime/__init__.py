"""ONNX Runtime: one file an execution provider, and what they share."""
