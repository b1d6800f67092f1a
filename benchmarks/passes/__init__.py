"""What each rewrite of a traced network gives, and what all of them give: `make bench-passes`."""
