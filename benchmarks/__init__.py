"""Benchmarks: time model files on targets, compare the results and write reports.

`record` and `measuring` run on the measured device. They need only Python, numpy and the runtime.
The other modules read what those two recorded.
"""
