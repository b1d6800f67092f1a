"""Fold, export, verify and check vision models that use Slide Attention."""

__version__ = "0.1.0"
