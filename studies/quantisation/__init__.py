"""Measures gain and error of each family of operators in int8: `make bench-quantisation`."""
