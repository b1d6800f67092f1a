"""A table of operators that torch makes again in each export: here it is made once in a process.

The table of operators in ONNX takes half a second, half of the time in which a small network is
exported. It depends only on the operators that are registered, and an export does not change it.
"""

import copy
import functools
from typing import Any

import torch


def keep_tables() -> None:
    """Let exports of this process share the table."""
    export = torch.onnx.export

    # Patched by the first export to ONNX, because its import takes a second.
    @functools.wraps(export)
    def with_kept_functions(*arguments: Any, **options: Any) -> Any:
        _keep_onnx_functions()
        return export(*arguments, **options)

    torch.onnx.export = with_kept_functions


@functools.cache
def _keep_onnx_functions() -> None:
    """Keep the table of operators in ONNX, for which torch parses the source of 500 functions."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = functools.cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**options: Any) -> ONNXRegistry:
        registry = copy.copy(made(**options))
        # An export with functions of its own adds them to the lists.
        registry.functions = {name: list(each) for name, each in registry.functions.items()}
        return registry

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore[assignment]
