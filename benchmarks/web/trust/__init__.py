"""Checks the page's medians against those of a hand-written loop."""
