"""Saved ``.mlpackage`` folders, read safely and without importing coremltools or torch."""

from slide_deploy.saved.mlpackage.features import Feature, Range
from slide_deploy.saved.mlpackage.package import Package, open_package
from slide_deploy.saved.mlpackage.program import (
    Argument,
    BlobReference,
    Function,
    NamedType,
    Operation,
    OtherType,
    PackageBlock,
    PackageConstant,
    TensorType,
    Value,
    ValueReference,
    ValueType,
)

__all__ = [
    "Argument",
    "BlobReference",
    "Feature",
    "Function",
    "NamedType",
    "Operation",
    "OtherType",
    "Package",
    "PackageBlock",
    "PackageConstant",
    "Range",
    "TensorType",
    "Value",
    "ValueReference",
    "ValueType",
    "open_package",
]
