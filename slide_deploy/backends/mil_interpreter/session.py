"""The interpreter as a runtime: what checks Core ML files where there is no Mac."""

from pathlib import Path

import numpy as np

from slide_deploy import __version__
from slide_deploy.errors import InputError
from slide_deploy.backends.base import Feeds, Port, Session
from slide_deploy.backends.mil_interpreter.program import MilProgram


def load(path: Path) -> Session:
    """Load an ``.mlpackage``.

    Raises:
        InputError: if the package is damaged or uses an operator that the interpreter lacks.
    """
    program = MilProgram.load(path)
    if not program.inputs or not program.outputs:
        raise InputError(f"{path} has no input or no output: export the model again.")
    outputs = tuple(program.outputs)
    ports = []
    for name, port in program.inputs.items():
        if port.shape is None:
            raise InputError(f"{path} does not say the shape of {name}: export the model again.")
        sizes = tuple(size if isinstance(size, int) else None for size in port.shape)
        ports.append(Port(name, sizes, port.dtype, port.colours != ""))
    reversed_colours = {name for name, port in program.inputs.items() if port.colours == "BGR"}

    def run(feeds: Feeds) -> list[np.ndarray]:
        # Applications give Core ML a picture, and it gives the program the channels in this order.
        ordered = {
            name: values[:, ::-1] if name in reversed_colours else values
            for name, values in feeds.items()
        }
        answers = program.run(ordered)
        return [np.asarray(answers[name]) for name in outputs]

    return Session(
        "mil-interpreter", __version__, tuple(ports), outputs, run, program.user_metadata
    )


def inner_values(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every floating-point value that the package computes for these inputs, by name.

    Raises:
        InputError: if the package is damaged or uses an operator that the interpreter lacks.
    """
    program = MilProgram.load(path)
    answers = program.run(dict(feeds), keep=program.computed_floats)
    return {name: np.asarray(value) for name, value in answers.items()}
