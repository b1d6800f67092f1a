"""Measures the gain of each pass, and of all passes together: `make bench-passes`."""
