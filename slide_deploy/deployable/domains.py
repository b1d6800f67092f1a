"""Find the values that a network takes, from which verification draws inputs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.record import run
from slide_deploy.errors import InputError
from slide_deploy.verification.cases import verification_cases


def with_values(network: nn.Module, inputs: Sequence[Input]) -> tuple[Input, ...]:
    """Set the values that inputs are drawn from, as far as the network shows them.

    An input that indexes an embedding table gets all rows of the table, not only those in its
    example. If a network outputs no finite number for noise, for example because it takes a
    logarithm, its inputs are drawn from the values of their examples.

    Args:
        network: network with flat inputs and outputs. Its buffers may change.
        inputs: inputs with examples that the network takes.
    """
    rows = _rows_of_tables(network, inputs)
    wider = tuple(
        replace(each, values=np.arange(rows[each.name], dtype=each.example.dtype))
        if each.name in rows
        else each
        for each in inputs
    )
    narrower = tuple(
        replace(each, values=each.example.ravel())
        if each.example.dtype.kind == "f" and each.example.size
        else each
        for each in inputs
    )
    return next(
        (each for each in (wider, tuple(inputs)) if _outputs_numbers(network, each)), narrower
    )


def _outputs_numbers(network: nn.Module, inputs: Sequence[Input]) -> bool:
    """Whether a network runs on noise and zeros, and every output has a finite number."""
    for case in verification_cases(inputs):
        if case.name in ("noise", "zeros"):
            try:
                outputs = run(network, [case.inputs[each.name] for each in inputs])
            except InputError:
                return False
            if not all(output.isfinite().any() for output in outputs):
                return False
    return True


def _rows_of_tables(network: nn.Module, inputs: Sequence[Input]) -> dict[str, int]:
    """Return the number of rows of the smallest table that each input indexes, by input name."""
    tensors = [torch.tensor(each.example) for each in inputs]
    names = {
        tensor.untyped_storage().data_ptr(): each.name
        for tensor, each in zip(tensors, inputs, strict=True)
        if each.example.dtype.kind in "iu" and each.example.size
    }
    watch = _EmbeddingTables(names)
    if names:
        with torch.no_grad(), watch:
            network(*tensors)
    return watch.rows


class _EmbeddingTables(TorchDispatchMode):
    """Records the sizes of embedding tables that certain tensors index.

    Args:
        names: names of the index tensors, by the address of their storage.
    """

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.rows: dict[str, int] = {}
        self._names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.embedding.default:
            table, indices = args[:2]
            name = self._names.get(indices.untyped_storage().data_ptr())
            if name is not None:
                self.rows[name] = min(table.shape[0], self.rows.get(name, table.shape[0]))
        return func(*args, **(kwargs or {}))
