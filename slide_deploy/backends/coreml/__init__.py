"""Core ML: its compute units, and what they share."""
