"""Load the weights of a checkpoint into a module that user code built."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.module_networks import ModuleNetworks, Slot
from slide_deploy.checkpoint.read import open_checkpoint, refuse_without_network, weights_of
from slide_deploy.checkpoint.stored_tensor import as_float32, refuse_not_finite
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class LoadedWeights:
    """The provenance of a module's weights.

    Attributes:
        path: the file or folder.
        sha256: digest of its bytes.
        entry: the keys and prefixes that lead to the weights; empty for a bare state dict.
        remarks: how they were chosen, and what was left out, in words.
        left_out: names of all tensors of the file that are not part of the module.
    """

    path: Path
    sha256: str
    entry: str
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]


def load_into(
    module: nn.Module, path: Path, title: str, overrides: Overrides | None = None
) -> LoadedWeights:
    """Load weights into a module, in place; its floating-point tensors become float32.

    The file must hold all of the module's tensors, and no others except counters and what only
    training needs.

    Args:
        module: the module, as its factory built it.
        path: a checkpoint of any layout.
        title: the module's name in messages.
        overrides: the user's choice among the file's weights.

    Raises:
        InputError: the file cannot be used, or holds other weights; the message says which.
    """
    overrides = overrides or Overrides()
    finder = ModuleNetworks(module, title)
    opened = open_checkpoint(path)
    networks, outside = finder.networks(opened.entries)
    if not networks:
        refuse_without_network(opened, finder.refuse_absent)
    stored = weights_of(opened, finder, networks, outside, overrides)
    tensors = {
        finder.slots[name].name: _filled(f"{path}: {name}", tensor, finder.slots[name])
        for name, tensor in stored.tensors.items()
        if finder.slots[name].shape in (None, tuple(tensor.shape))  # other shapes are derived ones
    }
    _refuse_unequal(path, stored.tensors, finder)
    module.float()
    # Tensors are copied unless the module has meta tensors, so that shared tensors stay shared.
    assign = any(tensor.is_meta for tensor in module.parameters())
    try:
        module.load_state_dict(tensors, strict=False, assign=assign)
    except Exception as error:  # a module may have a loader of its own
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{title} cannot load the weights of {path} ({type(error).__name__}: {reason}): load "
            f"them in the factory and leave out --weights-file."
        ) from error
    return LoadedWeights(path, stored.sha256, stored.entry, stored.remarks, stored.left_out)


def _filled(name: str, tensor: Tensor, slot: Slot) -> Tensor:
    """A tensor of the file in the type that the module needs.

    Raises:
        InputError: it holds another kind of numbers, or numbers that are not finite.
    """
    if slot.dtype.is_floating_point:
        tensor = as_float32(name, tensor)
        refuse_not_finite(name, tensor)
    elif tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.is_quantized:
        stored, needed = (str(each).removeprefix("torch.") for each in (tensor.dtype, slot.dtype))
        raise InputError(
            f"{name} is of type {stored} and the network has {needed} there: give the weights of "
            f"this network."
        )
    return tensor


def _refuse_unequal(path: Path, tensors: Mapping[str, Tensor], finder: ModuleNetworks) -> None:
    """Refuse a file with two different tensors for one shared tensor of the module."""
    for name, slot in finder.slots.items():
        for other in slot.shared:
            both = name in tensors and other in tensors
            if both and not torch.equal(tensors[name], tensors[other]):
                raise InputError(
                    f"{path} holds {name} and {other} with different numbers, and {finder.title} "
                    f"has one tensor for both: build the network of the file."
                )
