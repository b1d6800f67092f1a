"""Toy files to the common graph, without torch."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.dialect import Dialect, Kind, kinds
from slide_deploy.graph_checks.graph import (
    Attribute,
    Constant,
    Graph,
    Node,
    Shape,
    Value,
    with_sizes,
)

DIALECT = Dialect(
    format="toy",
    domain="aten",
    kinds=kinds(
        {
            Kind.CONVOLUTION: "conv2d",
            Kind.MATMUL: "matmul",
            Kind.LINEAR: "linear",
            Kind.SOFTMAX: "softmax",
            Kind.ADD: "add",
            Kind.MULTIPLY: "mul",
            Kind.SAME_SHAPE: "gelu layer_norm",
            Kind.RESHAPE: "flatten reshape",
            Kind.TRANSPOSE: "permute transpose",
            Kind.CONCAT: "cat",
        }
    ),
    groups="groups",
    pads=("padding",),
    pads_by_axis=True,
    linear_transposed=(False, True),
    permutation="dims",
    pattern="shape",
    epsilons={"layer_norm": "eps"},
    default_epsilon=1e-5,
)


def content_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The program of a file and its weights; InputError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return json.loads(arrays.pop("program").tobytes()), arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no whole toy file: export it again.") from error


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    program, weights = content_of(path)
    image = Value(program["input"]["name"], "float32", tuple(program["input"]["shape"]))
    values = {image.name: image}
    nodes = []
    for entry in program["operators"]:
        results = [
            Value(each["value"], "float32", tuple(each["shape"])) for each in entry["outputs"]
        ]
        values |= {value.name: value for value in results}
        nodes.append(_node(entry, results))
    graph = Graph(
        dialect=DIALECT,
        path=path,
        files=(path,),
        ir_version=program["version"],
        opsets={DIALECT.domain: 1},
        inputs=(image,),
        outputs=tuple(values[name] for name in program["outputs"]),
        nodes=tuple(nodes),
        constants={name: _constant(name, array) for name, array in weights.items()},
        values=values,
        metadata=program["metadata"],
    )
    return with_sizes(graph, sizes or {})


def _node(entry: dict[str, Any], results: list[Value]) -> Node:
    operator = entry["operator"].split(".")[0]
    inputs = tuple(_tensors(list(entry["arguments"].values())))
    attributes: dict[str, Attribute] = {}
    for name, held in entry["arguments"].items():
        if not list(_tensors(held)) and held is not None:
            common = {"stride": "strides", "dilation": "dilations"}.get(name, name)
            attributes[common] = tuple(held) if isinstance(held, list) else held
    if operator == "conv2d":  # (p, q) on both sides of height and width
        height, width = entry["arguments"].get("padding", (0, 0))
        attributes["padding"] = (height, height, width, width)
    if operator == "transpose":
        axes = list(range(len(results[0].shape or ())))
        one, other = (entry["arguments"][name] for name in ("dim0", "dim1"))
        axes[one], axes[other] = axes[other], axes[one]
        attributes["dims"] = tuple(axes)
    outputs = tuple(value.name for value in results)
    return Node(entry["name"], operator, DIALECT.domain, inputs, outputs, attributes)


def _tensors(argument: Any) -> Iterator[str]:
    if isinstance(argument, dict):
        yield argument["value"]
    for item in argument if isinstance(argument, list) else ():
        yield from _tensors(item)


def _constant(name: str, array: np.ndarray) -> Constant:
    stored = np.ascontiguousarray(array).view(np.uint8).ravel()
    return Constant(name, array.dtype.name, array.shape, array.nbytes, name, lambda: stored)
