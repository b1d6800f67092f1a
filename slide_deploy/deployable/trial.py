"""A network is run once and again: what it gives, and whether that can be deployed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.network import NetworkCall, path_text, plain
from slide_deploy.deployable.reasons import reason_of
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class TrialRun:
    """What came of it.

    Attributes:
        call: with the outputs that the network gives.
        names: of the outputs by their keys; empty where a tensor alone is given.
        remarks: what a user should know, sentences without a full stop.
    """

    call: NetworkCall
    names: tuple[str, ...]
    remarks: tuple[str, ...]


def tried(model: nn.Module, call: NetworkCall, inputs: Sequence[Input], title: str) -> TrialRun:
    """Run a network.

    Args:
        model: its buffers may change.
        call: how it is called; what it gives is not known yet.
        inputs: with examples that it takes.
        title: what messages call it.

    Raises:
        InputError: if it cannot be run, or gives or does what no file can.
    """
    tensors = {each.name: torch.tensor(each.example) for each in inputs}
    given = _given(model, call, tensors, title)
    for name, tensor in tensors.items():
        if tensor._version:
            raise InputError(
                f"{title} changes its input {name} in place, which no file can: let it compute "
                f"with a copy, as {name}.clone()."
            )
    kept, names, dropped = [], [], []
    found: list[Tensor] = []
    for place, (path, leaf) in enumerate(given):
        text = path_text(path)
        if isinstance(leaf, Tensor):
            _refuse_kind(leaf, text, title)
            kept.append(place)
            names.append(text)
            found.append(leaf.clone())
        elif leaf is not None:
            dropped.append(text or "its output")
    if not kept:
        raise InputError(f"{title} gives no tensor: a network without outputs cannot be exported.")
    again = [leaf for _, leaf in _given(model, call, tensors, title)]
    _refuse_changes(found, [leaf for leaf in again if isinstance(leaf, Tensor)], title)
    remarks = (f"left out: {', '.join(dropped)}, which are no tensors",) if dropped else ()
    call = replace(call, kept=tuple(kept), repeated=_repeated(found, [*tensors.values()]))
    return TrialRun(call, tuple(names), remarks)


def _given(
    network: nn.Module, call: NetworkCall, tensors: Mapping[str, Tensor], title: str
) -> list[tuple[Any, Any]]:
    """The leaves of what a network gives, each with its path."""
    args, kwargs = call.arguments([*tensors.values()])
    try:
        with torch.no_grad():
            return list(pytree.tree_flatten_with_path(plain(network(*args, **kwargs)))[0])
    except (Exception, SystemExit) as error:  # a user's network, any error
        sizes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise InputError(
            f"{title} cannot be run on the CPU in float32 with {sizes} ({reason_of(error)}): "
            f"give inputs that it takes."
        ) from error


def _refuse_kind(output: Tensor, name: str, title: str) -> None:
    place = f" at {name}" if name else ""
    if output.is_complex():
        raise InputError(f"{title} answers complex numbers{place}, which no format can hold.")
    if output.layout != torch.strided:
        raise InputError(f"{title} answers a sparse tensor{place}, which no format can hold.")
    if not output.numel():
        raise InputError(
            f"{title} answers a tensor without elements{place}, {tuple(output.shape)}, which "
            f"nothing can be compared with: leave it out."
        )
    if output.is_floating_point() and not output.isfinite().any():
        raise InputError(
            f"{title} answers nothing but NaN and infinity{place}: give inputs for which it gives "
            f"numbers."
        )


def _refuse_changes(first: Sequence[Tensor], second: Sequence[Tensor], title: str) -> None:
    alike = len(first) == len(second) and all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(first, second, strict=True)
    )
    if not alike:
        raise InputError(
            f"{title} gives other values when it is run again with the same inputs: a network that "
            f"draws random numbers in evaluation mode, or keeps values for the next call, cannot "
            f"be proved."
        )


def _repeated(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """Which outputs hold what an input or an output before them holds."""
    return tuple(
        place
        for place, output in enumerate(outputs)
        if any(
            output.dtype == other.dtype and torch.equal(output.nan_to_num(), other.nan_to_num())
            for other in (*inputs, *outputs[:place])
        )
    )
