"""Saved ``.mlpackage`` folders, read safely and without importing coremltools or torch."""

from slide_deploy.mlpackage.features import Feature, Range
from slide_deploy.mlpackage.package import Package, open_package
from slide_deploy.mlpackage.program import (
    Argument,
    Block,
    Constant,
    Function,
    NamedType,
    Operation,
    Reference,
    TensorType,
)

__all__ = [
    "Argument",
    "Block",
    "Constant",
    "Feature",
    "Function",
    "NamedType",
    "Operation",
    "Package",
    "Range",
    "Reference",
    "TensorType",
    "open_package",
]
