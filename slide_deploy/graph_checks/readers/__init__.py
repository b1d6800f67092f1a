"""Read an untrusted model file into the common graph. Each format has one reader.

``slide_deploy.formats`` names the module of each reader, which has one function::

    read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph

``sizes`` holds shapes of inputs, by name, that replace open sizes. The function raises InputError
if the file is damaged, absurdly large or refers to data outside its folder, and MissingExtra if a
library that it needs is not installed. The graph that it returns holds the format's ``Dialect``.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from slide_deploy.files.model_files import require_model_file
from slide_deploy.formats import format_of
from slide_deploy.graph_checks.graph import Graph, Shape, batch_one
from slide_deploy.parsing import refuse_other_shapes


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read a model file with the reader of its suffix.

    Raises:
        InputError: the suffix is unknown, or the file is missing, damaged, absurdly large or refers
            to data outside its folder.
        MissingExtra: the library of the format is not installed.
    """
    return _read(Path(path))


def read_sized(path: str | os.PathLike[str], shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Read a model file with given sizes for its inputs.

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
        value.name: shapes.get(value.name) or batch_one(value.shape or ())
        for value in graph.inputs
        if value.shape is not None or value.name in shapes
    }
    return _read(file, fixed)


def _read(file: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    format = format_of(file)
    require_model_file(file)
    read: Callable[[Path, Mapping[str, Shape] | None], Graph] = import_module(format.reader).read
    return read(file, sizes)


def _numbers(shape: Shape | None) -> tuple[int | None, ...] | None:
    """A shape without the names of open sizes."""
    if shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in shape)
