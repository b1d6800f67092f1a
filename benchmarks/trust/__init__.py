"""Measures on real runtimes whether the benchmark can be trusted.

`python -m benchmarks.trust` races a file against itself and against a slower copy, and compares the
benchmark's figures with those of the vendors' own tools. Measuring code does not import this.
"""
