"""A network with flat ends: tensors in, in a known order, and a tuple of tensors out.

Exporters, references and checks call every network so, whatever its ``forward`` takes and gives.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from slide_deploy.deployable.around import Around


@dataclass(frozen=True)
class NetworkCall:
    """How tensors become the arguments of a ``forward``, and what it gives becomes tensors.

    Attributes:
        spec: the structure of its arguments, (args, kwargs).
        constants: all leaves of that structure; None in the place of each tensor.
        places: where the tensors stand among the leaves, in the order of the inputs.
        kept: which leaves of what it gives are outputs.
        repeated: which outputs, by their place, may be the same tensor as an input or an output
            before them. Formats know a tensor by one name: such an output is computed anew.
    """

    spec: pytree.TreeSpec
    constants: tuple[Any, ...]
    places: tuple[int, ...]
    kept: tuple[int, ...]
    repeated: tuple[int, ...] = ()

    @classmethod
    def of_one_tensor(cls, outputs: int = 1) -> "NetworkCall":
        """Of a network that takes one tensor and gives one, or a tuple of so many."""
        _, spec = pytree.tree_flatten(((0,), {}))
        return cls(spec, (None,), (0,), tuple(range(outputs)))

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with these tensors in them."""
        leaves = list(self.constants)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return tuple(args), dict(kwargs)

    def outputs(self, given: Any) -> tuple[Tensor, ...]:
        """The tensors of what a ``forward`` gave."""
        leaves = pytree.tree_leaves(plain(given))
        outputs = [leaves[place] for place in self.kept]
        for place in self.repeated:
            outputs[place] = _anew(outputs[place])
        return tuple(outputs)


class Network(nn.Module):
    """A module with flat ends.

    Args:
        module: to call; shared, not copied.
        call: how.
        around: what stands around it; None for nothing.
    """

    def __init__(self, module: nn.Module, call: NetworkCall, around: Around | None = None) -> None:
        super().__init__()
        self.module = module
        self._call = call
        self._image, self._classes = (0, None) if around is None else (around.image, around.classes)
        self.pixels = None if around is None else around.copied().pixels
        self.train(module.training)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the module."""
        given = list(tensors)
        if self.pixels is not None:
            given[self._image] = self.pixels(given[self._image])
        args, kwargs = self._call.arguments(given)
        answers = list(self._call.outputs(self.module(*args, **kwargs)))
        if self._classes is not None:
            answers[self._classes] = answers[self._classes].softmax(-1)
        return tuple(answers)


def plain(given: Any) -> Any:
    """What a ``forward`` gives, with dicts for mappings of other classes and for dataclasses."""

    def opened(leaf: Any) -> Any:
        if isinstance(leaf, Mapping):
            return plain(dict(leaf))
        if is_dataclass(leaf) and not isinstance(leaf, type):
            return plain({each.name: getattr(leaf, each.name) for each in fields(leaf)})
        return leaf

    return pytree.tree_map(opened, given)


def _anew(tensor: Tensor) -> Tensor:
    """The same values from an operator of their own."""
    return tensor.logical_and(tensor) if tensor.dtype == torch.bool else tensor * 1


def path_text(path: Iterable[Any]) -> str:
    """A path through nested lists, dicts and records as a name: ("boxes", 0) is "boxes_0"."""
    parts = []
    for key in path:
        for attribute in ("key", "idx", "name"):
            if hasattr(key, attribute):
                parts.append(str(getattr(key, attribute)))
                break
    return "_".join(parts)
