"""Ratios of our files to baselines, with required values and aims: `make bench-export`."""
