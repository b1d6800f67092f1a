"""Turn slices that cut a value into all its parts into one split, as PyTorch's ``chunk`` does.

PyTorch's older exporter writes ``chunk`` as slices, which runtimes copy one by one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from slide_deploy.onnx_network.building import GraphParts
from slide_deploy.onnx_network.module import GraphStep


class _Part(NamedTuple):
    axis: int
    start: int
    end: int
    step: GraphStep


def join_slices(parts: GraphParts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace the slices of a value by a split, where they are next to each other and all of it.

    Args:
        parts: the graph; it is changed.
        shapes: shapes of its values in a run.
    """
    readers: dict[str, list[GraphStep]] = {}
    for step in parts.steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    order = {step.outputs[0]: place for place, step in enumerate(parts.steps)}
    by_value: dict[tuple[str, int], list[_Part]] = {}
    for step in parts.steps:
        part = _part(parts, step, shapes)
        if part is not None:
            by_value.setdefault((step.inputs[0], part.axis), []).append(part)
    splits: dict[str, GraphStep | None] = {}
    for (name, axis), found in by_value.items():
        found.sort(key=lambda part: part.start)
        ends = [0, *(part.end for part in found)]
        is_whole = ends[-1] == shapes[name][axis] and len(found) > 1
        if not is_whole or ends[:-1] != [part.start for part in found]:
            continue
        outputs = tuple(part.step.outputs[0] for part in found)
        if _is_roll([readers.get(output, []) for output in outputs]):
            continue
        sizes = [part.end - part.start for part in found]
        # The first of the slices in the graph becomes the split.
        first = min(found, key=lambda part: order[part.step.outputs[0]]).step
        splits.update(dict.fromkeys(outputs))
        splits[first.outputs[0]] = GraphStep(
            "Split",
            first.name,
            (name,),
            outputs,
            {**first.attributes, "axis": axis, "split": sizes},
        )
    joined = (splits.get(step.outputs[0], step) for step in parts.steps)
    parts.steps = [step for step in joined if step is not None]


def _is_roll(readers: list[list[GraphStep]]) -> bool:
    """Whether one operator joins all parts again, as in a roll, which stays two slices."""
    joins = {step.outputs[0] for each in readers for step in each if step.operator == "Concat"}
    return len(joins) == 1 and all(len(each) == 1 for each in readers)


def _part(
    parts: GraphParts, step: GraphStep, shapes: Mapping[str, tuple[int, ...]]
) -> _Part | None:
    """Return the part that a slice along one axis takes; None for any other step."""
    if step.operator != "Slice" or step.inputs[0] not in shapes or len(step.inputs) < 3:
        return None
    given = [parts.constants.get(name) for name in step.inputs[1:]]
    numbers = [int(each[0]) for each in given if isinstance(each, np.ndarray) and each.size == 1]
    if len(numbers) != len(given):
        return None
    start, end, axis, stride = [*numbers, *[0, 1][len(numbers) - 2 :]]
    shape = shapes[step.inputs[0]]
    axis %= len(shape)
    start, end, _ = slice(start, end).indices(shape[axis])
    return _Part(axis, start, end, step) if stride == 1 and end > start else None
