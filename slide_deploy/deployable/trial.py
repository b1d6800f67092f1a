"""Run a network twice to find its outputs, and refuse behaviour that no file can reproduce."""

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
    """The result of a trial run.

    Attributes:
        call: the call, with the network's outputs.
        names: names of the outputs by their keys; empty for a bare tensor.
        remarks: remarks for the user, sentences without a full stop.
    """

    call: NetworkCall
    names: tuple[str, ...]
    remarks: tuple[str, ...]


def run_trial(model: nn.Module, call: NetworkCall, inputs: Sequence[Input], title: str) -> TrialRun:
    """Run a network twice on its examples.

    Args:
        model: network to run. Its buffers may change.
        call: how it is called. Its outputs are not known yet.
        inputs: inputs with examples that the network takes.
        title: name of the network in messages.

    Raises:
        InputError: if the network cannot be run, has an output that no file can have, changes an
            input in place, or returns other values in the second run.
    """
    tensors = {each.name: torch.tensor(each.example) for each in inputs}
    returned = _leaves(model, call, tensors, title)
    for name, tensor in tensors.items():
        if tensor._version:
            raise InputError(
                f"{title} changes its input {name} in place, which no file can do: let it compute "
                f"with a copy, such as {name}.clone()."
            )
    kept, names, dropped = [], [], []
    found: list[Tensor] = []
    for place, (path, leaf) in enumerate(returned):
        text = path_text(path)
        if isinstance(leaf, Tensor):
            _refuse_kind(leaf, text, title)
            kept.append(place)
            names.append(text)
            found.append(leaf.clone())
        elif leaf is not None:
            dropped.append(text or "its output")
    if not kept:
        raise InputError(f"{title} returns no tensor: let its forward return at least one.")
    again = [leaf for _, leaf in _leaves(model, call, tensors, title)]
    _refuse_changes(found, [leaf for leaf in again if isinstance(leaf, Tensor)], title)
    remarks = (f"left out: {', '.join(dropped)}, which are not tensors",) if dropped else ()
    call = replace(call, kept=tuple(kept), repeated=_repeated(found, [*tensors.values()]))
    return TrialRun(call, tuple(names), remarks)


def _leaves(
    network: nn.Module, call: NetworkCall, tensors: Mapping[str, Tensor], title: str
) -> list[tuple[Any, Any]]:
    """Run a network, and return the leaves of its return value with their paths."""
    args, kwargs = call.arguments([*tensors.values()])
    try:
        with torch.no_grad():
            return list(pytree.tree_flatten_with_path(plain(network(*args, **kwargs)))[0])
    except (Exception, SystemExit) as error:  # a user's network, any error
        sizes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise InputError(
            f"{title} cannot be run on the CPU in float32 with {sizes} ({reason_of(error)}): give "
            f"inputs that it takes."
        ) from error


def _refuse_kind(output: Tensor, name: str, title: str) -> None:
    place = f" at {name}" if name else ""
    if output.is_complex():
        raise InputError(
            f"{title} outputs complex numbers{place}, which no format supports: output real and "
            f"imaginary parts."
        )
    if output.layout != torch.strided:
        raise InputError(
            f"{title} outputs a sparse tensor{place}, which no format supports: output a dense one."
        )
    if not output.numel():
        raise InputError(
            f"{title} outputs a tensor without elements{place}, {tuple(output.shape)}, which "
            f"cannot be verified: leave it out."
        )
    if output.is_floating_point() and not output.isfinite().any():
        raise InputError(
            f"{title} outputs nothing but NaN and infinity{place}: give inputs for which it "
            f"outputs finite numbers."
        )


def _refuse_changes(first: Sequence[Tensor], second: Sequence[Tensor], title: str) -> None:
    equal = len(first) == len(second) and all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(first, second, strict=True)
    )
    if not equal:
        raise InputError(
            f"{title} outputs other values when it is run again with the same inputs: it must not "
            f"draw random numbers in evaluation mode or keep values for the next call."
        )


def _repeated(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the indices of outputs that equal an input or an earlier output."""
    return tuple(
        place
        for place, output in enumerate(outputs)
        if any(
            output.dtype == other.dtype and torch.equal(output.nan_to_num(), other.nan_to_num())
            for other in (*inputs, *outputs[:place])
        )
    )
