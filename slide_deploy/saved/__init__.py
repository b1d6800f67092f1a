"""Readers of saved model files that do not need the library that wrote them.

Each reader checks every offset and count against the file, so that a damaged or hostile file causes
an error and not a crash. Backends and graph checks share these readers.
"""
