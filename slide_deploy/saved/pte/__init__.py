"""Read ``.pte`` files of ExecuTorch safely, without its library and without torch.

``program`` reads the file, ``xnnpack`` the graph that it delegates to XNNPACK, and ``companion``
the names and metadata that the exporter stored. Graph checks and the backend use these readers.
"""
