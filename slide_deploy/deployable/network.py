"""A network with flat inputs and outputs: tensors in a known order, and a tuple of tensors.

Exporters, reference outputs and checks call every network this way, whatever its ``forward`` takes
and returns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from slide_deploy.deployable.processing import Processing


@dataclass(frozen=True)
class NetworkCall:
    """Converts tensors to the arguments of a ``forward``, and its return value to tensors.

    Attributes:
        spec: tree structure of the arguments, (args, kwargs).
        constants: all leaves of that tree, with None for each tensor.
        places: indices of the tensors among the leaves, in the order of the inputs.
        kept: indices of the outputs among the leaves of the return value.
        repeated: indices of outputs that may be the same tensor as an input or an earlier output.
            They are computed again, because a tensor has only one name in a file.
    """

    spec: pytree.TreeSpec
    constants: tuple[Any, ...]
    places: tuple[int, ...]
    kept: tuple[int, ...]
    repeated: tuple[int, ...] = ()

    @classmethod
    def of_one_tensor(cls, outputs: int = 1) -> "NetworkCall":
        """Return the call of a network with one input tensor and a number of output tensors."""
        _, spec = pytree.tree_flatten(((0,), {}))
        return cls(spec, (None,), (0,), tuple(range(outputs)))

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments that contain these tensors."""
        leaves = list(self.constants)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return tuple(args), dict(kwargs)

    def outputs(self, returned: Any) -> tuple[Tensor, ...]:
        """Return the output tensors in the return value of a ``forward``."""
        leaves = pytree.tree_leaves(plain(returned))
        outputs = [leaves[place] for place in self.kept]
        for place in self.repeated:
            outputs[place] = _recomputed(outputs[place])
        return tuple(outputs)


class Network(nn.Module):
    """A module with flat inputs and outputs.

    Args:
        module: module to call. It is shared, not copied.
        call: how the module is called.
        processing: embedded processing before and after the module; None for none.
    """

    def __init__(
        self, module: nn.Module, call: NetworkCall, processing: Processing | None = None
    ) -> None:
        super().__init__()
        processing = processing or Processing()
        self.module = module
        self._call = call
        self._image, self._classes = processing.image, processing.classes
        self.pixels = processing.copied().pixels
        self.train(module.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the module."""
        inputs = list(tensors)
        if self.pixels is not None:
            inputs[self._image] = self.pixels(inputs[self._image])
        args, kwargs = self._call.arguments(inputs)
        outputs = list(self._call.outputs(self.module(*args, **kwargs)))
        if self._classes is not None:
            outputs[self._classes] = outputs[self._classes].softmax(-1)
        return tuple(outputs)


def plain(returned: Any) -> Any:
    """Replace dataclasses and mappings of other classes by dicts in a return value."""

    def opened(leaf: Any) -> Any:
        if isinstance(leaf, Mapping):
            return plain(dict(leaf))
        if is_dataclass(leaf) and not isinstance(leaf, type):
            return plain({each.name: getattr(leaf, each.name) for each in fields(leaf)})
        return leaf

    return pytree.tree_map(opened, returned)


def _recomputed(tensor: Tensor) -> Tensor:
    """Return the same values as the output of another operator."""
    return tensor.logical_and(tensor) if tensor.dtype == torch.bool else tensor * 1


def path_text(path: Iterable[Any]) -> str:
    """Convert a path through nested containers to a name: ("boxes", 0) becomes "boxes_0"."""
    parts = []
    for key in path:
        for attribute in ("key", "idx", "name"):
            if hasattr(key, attribute):
                parts.append(str(getattr(key, attribute)))
                break
    return "_".join(parts)
