"""Saved model files, taken apart without the library that wrote them.

Each reader checks every offset and count against the file, so that a damaged or hostile file ends
in an error and not in a crash. Backends and graph checks share these readers.
"""
