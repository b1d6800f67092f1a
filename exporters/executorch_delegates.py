"""What cuts a program of ExecuTorch for each delegate, and what is rewritten before.

All of them are written on any system. The libraries that run the files come with phones and Macs.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from slide_deploy.errors import MissingExtra

Cutting = tuple[list[Any], Any]
"""Passes over the program, and what tells the delegate's part from the rest."""


def xnnpack(precision: str) -> Cutting:
    """For processors."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    from exporters.executorch_operators import WrittenForXnnpack

    return [WrittenForXnnpack()], XnnpackPartitioner()


def coreml(precision: str) -> Cutting:
    """For Apple's devices; ``precision`` is that of weights and arithmetic."""
    if find_spec("coremltools") is None:
        raise MissingExtra("coremltools", "coreml")
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    # The first system that has all operators of the passes.
    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.precision(precision),
    )
    return [], CoreMLPartitioner(compile_specs=specs)


def vulkan(precision: str) -> Cutting:
    """For GPUs, those of Android phones above all."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return [], VulkanPartitioner()


# By the names of the format's record.
DELEGATES: dict[str, Callable[[str], Cutting]] = {
    cut.__name__: cut for cut in (xnnpack, coreml, vulkan)
}
# Those that take an open batch with an upper bound.
BOUNDED = (xnnpack.__name__,)
