"""Saved ``.mlpackage`` folders, read safely and without importing coremltools or torch."""

from slide_deploy.mlpackage.features import Feature, Range
from slide_deploy.mlpackage.package import Package, open_package
from slide_deploy.mlpackage.program import (
    Argument,
    BlobReference,
    Block,
    Constant,
    Function,
    NamedType,
    Operation,
    OtherType,
    Reference,
    TensorType,
    Value,
    ValueType,
)

__all__ = [
    "Argument",
    "BlobReference",
    "Block",
    "Constant",
    "Feature",
    "Function",
    "NamedType",
    "Operation",
    "OtherType",
    "Package",
    "Range",
    "Reference",
    "TensorType",
    "Value",
    "ValueType",
    "open_package",
]
