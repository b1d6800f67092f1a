"""One reader a format: a file from a stranger to the common graph, or one sentence why not."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Graph, Shape, Value
from slide_deploy.graph_checks.readers.mlpackage import read_mlpackage
from slide_deploy.graph_checks.readers.onnx_file import read_onnx
from slide_deploy.graph_checks.readers.openvino_ir import read_openvino
from slide_deploy.input_shapes import refuse_other_shapes
from slide_deploy.model_files import require_model_file

READERS: tuple[tuple[str, Callable[[Path], Graph]], ...] = (
    (".onnx", read_onnx),
    (".xml", read_openvino),
    (".mlpackage", read_mlpackage),
)


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read a model file; its suffix says which reader.

    Raises:
        InputError: the suffix is unknown, or the file is missing, damaged, absurdly large or names
            data outside its folder.
        MissingExtra: the library of the format is not installed.
    """
    file = Path(path)
    for suffix, reader in READERS:
        if file.suffix.lower() == suffix:
            require_model_file(file)
            return reader(file)
    known = ", ".join(suffix for suffix, _ in READERS)
    raise InputError(f"{file} is not a file of a known format: name one that ends in {known}.")


def read_sized(path: str | os.PathLike[str], shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Read a model file as it is where its inputs have given sizes.

    An open batch, which is the first size of an input, is 1 unless it is given.

    Args:
        path: as for ``read_graph``.
        shapes: of inputs, by name.

    Raises:
        InputError: as ``read_graph``, and if the file has no such input or other sizes for it.
    """
    file = Path(path)
    graph = read_graph(file)
    declared = {value.name: _numbers(value.shape) for value in graph.inputs}
    refuse_other_shapes(file, declared, shapes)
    fixed: dict[str, Shape] = {
        value.name: shapes.get(value.name) or _one_first(value.shape)
        for value in graph.inputs
        if value.shape is not None or value.name in shapes
    }
    if graph.format == "onnx":
        return read_onnx(file, fixed)  # the onnx library tells what becomes of inner values
    inputs = tuple(Value(each.name, each.dtype, fixed.get(each.name)) for each in graph.inputs)
    return replace(
        graph, inputs=inputs, values={**graph.values, **{each.name: each for each in inputs}}
    )


def _numbers(shape: Shape | None) -> tuple[int | None, ...] | None:
    """A shape without the names of open sizes."""
    if shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in shape)


def _one_first(shape: Shape | None) -> Shape:
    first, rest = (shape or ())[:1], (shape or ())[1:]
    return (*(size if isinstance(size, int) else 1 for size in first), *rest)
