"""What our files are held against, and how far they must be ahead: `make bench-export`."""
