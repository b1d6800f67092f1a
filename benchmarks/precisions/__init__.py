"""Size and accuracy of a trained network's files in each precision: `make bench-precisions`."""
