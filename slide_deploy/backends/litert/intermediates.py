"""Intermediates of a file, computed by LiteRT's own kernels, one operator at a time."""

from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Feeds
from slide_deploy.backends.litert.interpreter import open_interpreter, refusals, require
from slide_deploy.backends.litert.session import InterpreterStream, ports_of
from slide_deploy.machine import usable_threads
from slide_deploy.saved.tflite.model import opened


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that the file's operators compute; see `Target`."""
    require()
    interpreter = open_interpreter(path, usable_threads(), xnnpack=False, keep_values=True)
    names = opened(path).names[0]
    with refusals(path):
        inputs, outputs = ports_of(interpreter)
        taken = {port.name: feeds[port.name].astype(port.dtype) for port, _ in inputs}
        stream = InterpreterStream(
            interpreter,
            {port.name: place for port, place in inputs},
            [place for _, place in outputs],
        )
        stream.bind(taken)
        stream.run()
        computed = {
            int(place)
            for operator in interpreter._get_ops_details()
            for place in operator["outputs"]
        }
        found = {names[place]: interpreter.get_tensor(place) for place in sorted(computed)}
    return {name: value for name, value in found.items() if value.dtype.kind == "f"}
