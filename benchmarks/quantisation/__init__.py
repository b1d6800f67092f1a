"""Which families of operators gain in int8, and what each costs: `make bench-quantisation`."""
