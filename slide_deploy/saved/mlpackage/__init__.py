"""Read ``.mlpackage`` folders safely, without importing coremltools or torch."""

from slide_deploy.saved.mlpackage.features import Feature, Range
from slide_deploy.saved.mlpackage.package import Package, open_package
from slide_deploy.saved.mlpackage.program import (
    Argument,
    Function,
    NamedType,
    Operation,
    PackageBlock,
    PackageConstant,
    TensorType,
    ValueReference,
)

__all__ = [
    "Argument",
    "Feature",
    "Function",
    "NamedType",
    "Operation",
    "Package",
    "PackageBlock",
    "PackageConstant",
    "Range",
    "TensorType",
    "ValueReference",
    "open_package",
]
