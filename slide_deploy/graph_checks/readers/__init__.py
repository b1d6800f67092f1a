"""One reader a format: a file from a stranger to the common graph, or one sentence why not."""

import os
from collections.abc import Callable
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.readers.mlpackage import read_mlpackage
from slide_deploy.graph_checks.readers.onnx_file import read_onnx
from slide_deploy.graph_checks.readers.openvino_ir import read_openvino
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
