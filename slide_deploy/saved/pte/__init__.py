"""Reads ``.pte`` files of ExecuTorch safely, without its library and without torch.

flatbuffer (any flatbuffer), program (the file), xnnpack (what XNNPACK is given of it), companion
(what the exporter stored with it). Readers of the graph rules and the backend use it alike.
"""
