"""Files on disk: how they are written, locked, hashed, and which belong together."""
