"""Measures on real runtimes whether the benchmark can be trusted.

`python -m studies.trust` races a file against itself and against a slower copy, and compares the
benchmark's figures with those of the vendors' own tools.
"""
