"""How often files are right on pictures whose classes are known, and whether two differ."""
