"""Whether the harness can be trusted: it is measured here, on real runtimes.

`python -m benchmarks.trust` races a file against itself and against a slower self, and holds the
harness's figures against those of the vendors' own tools. Nothing that measures imports this.
"""
