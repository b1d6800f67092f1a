"""Replace sizes that a graph computes by constants, where runs at several sizes show them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from slide_deploy.onnx_network.building import GraphParts, fold_constants
from slide_deploy.onnx_network.module import GraphStep, without_unused


def freeze_sizes(parts: GraphParts, observed: Sequence[Mapping[str, Any]]) -> None:
    """Replace sizes that a graph computes by constants, where runs at several sizes show them.

    A size that differs from run to run becomes -1 in a reshape, if it is the only one there. Runs
    cannot prove that a size never changes; the written files are verified at further sizes.

    Args:
        parts: the graph.
        observed: for each run, its values by name.
    """
    parts.steps = [_with_frozen_inputs(parts, step, observed) for step in parts.steps]
    parts.steps = without_unused(parts.steps, parts.outputs)
    fold_constants(parts)


def _with_frozen_inputs(
    parts: GraphParts, step: GraphStep, observed: Sequence[Mapping[str, Any]]
) -> GraphStep:
    inputs = list(step.inputs)
    for place, name in enumerate(inputs):
        seen = [values.get(name) for values in observed]
        if name in parts.constants or not all(isinstance(each, np.ndarray) for each in seen):
            continue
        frozen = _frozen(seen, may_be_open=step.operator == "Reshape" and place == 1)
        if frozen is not None:
            inputs[place] = f"{name} of {step.outputs[0]}"
            parts.constants[inputs[place]] = frozen
    return replace(step, inputs=tuple(inputs))


def _frozen(seen: Sequence[Any], may_be_open: bool) -> np.ndarray[Any, Any] | None:
    first = seen[0]
    if any(each.shape != first.shape for each in seen):
        return None
    differs = np.any([each != first for each in seen], axis=0)
    if not differs.any():
        return np.array(first)
    if not may_be_open or differs.sum() > 1 or (first == -1).any():
        return None
    return np.where(differs, -1, first).astype(np.int64)
