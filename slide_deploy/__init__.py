"""Fold, export, verify and check vision models that use Slide Attention."""

__version__ = "0.1.0"

# The top-level names that this distribution brings; two of them are common words.
PACKAGES = ("slide_deploy", "exporters", "benchmarks")
