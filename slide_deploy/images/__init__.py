"""Pictures to what a model takes, and what it answers to classes."""
