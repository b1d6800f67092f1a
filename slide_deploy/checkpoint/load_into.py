"""Weights of a checkpoint file into a module that somebody else built."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from slide_deploy.checkpoint.module_networks import ModuleNetworks, Slot
from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import open_checkpoint, refuse_without_network, weights_of
from slide_deploy.checkpoint.stored_tensor import as_float32, refuse_not_finite
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class LoadedWeights:
    """Where the weights of a module came from.

    Args:
        path: the file or folder.
        sha256: of its bytes.
        entry: the keys and prefixes that lead to the weights; empty for a bare state dict.
        remarks: how they were chosen, and what was left out.
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

    All of the module's tensors are found in the file and nothing else stands there, except counters
    and what training alone needs.

    Args:
        module: as its factory gave it.
        path: a checkpoint of any layout.
        title: what messages call the module.
        overrides: which of the file's weights are meant.

    Raises:
        InputError: if the file cannot be used, or holds other weights; the text says which.
    """
    overrides = overrides or Overrides()
    sought = ModuleNetworks(module, title)
    opened = open_checkpoint(path)
    networks, outside = sought.networks(opened.entries)
    if not networks:
        refuse_without_network(opened, sought.refuse_absent)
    stored = weights_of(opened, sought, networks, outside, overrides)
    tensors = {
        sought.slots[name].name: _filled(f"{path}: {name}", tensor, sought.slots[name])
        for name, tensor in stored.tensors.items()
        if sought.slots[name].shape in (None, tuple(tensor.shape))  # others are derived
    }
    _refuse_unequal(path, stored.tensors, sought)
    module.float()
    # Copied where there is something to copy to, so that what is shared stays shared.
    assign = any(tensor.is_meta for tensor in module.parameters())
    try:
        module.load_state_dict(tensors, strict=False, assign=assign)
    except Exception as error:  # a module may have a loader of its own
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{title} does not take the weights of {path} ({type(error).__name__}: {reason}): load "
            f"them in the factory and leave out --weights-file."
        ) from error
    return LoadedWeights(path, stored.sha256, stored.entry, stored.remarks, stored.left_out)


def _filled(name: str, tensor: Tensor, slot: Slot) -> Tensor:
    """A tensor of the file as the module needs it.

    Raises:
        InputError: if its type is another kind of number, or its numbers are not finite.
    """
    if slot.dtype.is_floating_point:
        tensor = as_float32(name, tensor)
        refuse_not_finite(name, tensor)
    elif tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.is_quantized:
        stored, needed = (str(each).removeprefix("torch.") for each in (tensor.dtype, slot.dtype))
        raise InputError(
            f"{name} is of type {stored} and the network has {needed} there: name the weights of "
            f"this network."
        )
    return tensor


def _refuse_unequal(path: Path, tensors: Mapping[str, Tensor], sought: ModuleNetworks) -> None:
    """Refuse a file that holds two things where the module has one."""
    for name, slot in sought.slots.items():
        for other in slot.shared:
            both = name in tensors and other in tensors
            if both and not torch.equal(tensors[name], tensors[other]):
                raise InputError(
                    f"{path} holds {name} and {other} with other numbers and {sought.title} has "
                    f"one tensor for both: build the network of the file."
                )
