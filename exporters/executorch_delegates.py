"""The passes and the partitioner of each ExecuTorch delegate.

Files for every delegate can be written on any system. Some run only on phones or Macs.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from slide_deploy.errors import MissingExtra

Partitioning = tuple[list[Any], Any]
"""Passes over the program, and the partitioner that selects what the delegate runs."""


def xnnpack(precision: str) -> Partitioning:
    """Return the partitioning for XNNPACK, which runs on CPUs; ``precision`` is not used."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    from exporters.executorch_operators import WrittenForXnnpack

    return [WrittenForXnnpack()], XnnpackPartitioner()


def coreml(precision: str) -> Partitioning:
    """Return the partitioning for Apple's devices.

    Raises:
        MissingExtra: if coremltools is not installed.
    """
    if find_spec("coremltools") is None:
        raise MissingExtra("coremltools", "coreml")
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    # The oldest system with all operators that the passes create.
    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.precision(precision),
    )
    return [], CoreMLPartitioner(compile_specs=specs)


def vulkan(precision: str) -> Partitioning:
    """Return the partitioning for GPUs, mainly of Android phones; ``precision`` is not used."""
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

    return [], VulkanPartitioner()


# Keyed by the names in the format's record.
DELEGATES: dict[str, Callable[[str], Partitioning]] = {
    make.__name__: make for make in (xnnpack, coreml, vulkan)
}
# Delegates that support an open batch with an upper bound.
BOUNDED = (xnnpack.__name__,)
