"""The interpreter as a runtime: what checks Core ML files where there is no Mac."""

from pathlib import Path

import numpy as np

from slide_deploy import __version__
from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Session
from slide_deploy.runtimes.mil_interpreter.program import MilProgram


def load(path: Path) -> Session:
    """Load an ``.mlpackage``; its first input is the image.

    Raises:
        InputError: if the package is damaged or uses an operator that the interpreter lacks.
    """
    program = MilProgram.load(path)
    if not program.inputs or not program.outputs:
        raise InputError(f"{path} has no input or no output: export the model again.")
    image, outputs = next(iter(program.inputs)), tuple(program.outputs)
    port = program.inputs[image]
    shape = port.shape
    if shape is None:
        raise InputError(f"{path} does not say the shape of {image}: export the model again.")

    def run(images: np.ndarray) -> list[np.ndarray]:
        # Applications give Core ML a picture, and it gives the program the channels in this order.
        ordered = images[:, ::-1] if port.colours == "BGR" else images
        answers = program.run({image: ordered})
        return [np.asarray(answers[name]) for name in outputs]

    sizes = tuple(size if isinstance(size, int) else None for size in shape)
    pixels = port.colours != ""
    return Session("mil-interpreter", __version__, sizes, outputs, run, port.dtype, pixels)


def inner_values(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every floating-point value that the package computes for one image, by name.

    Raises:
        InputError: if the package is damaged or uses an operator that the interpreter lacks.
    """
    program = MilProgram.load(path)
    answers = program.run({next(iter(program.inputs)): image}, keep=program.computed_floats)
    return {name: np.asarray(value) for name, value in answers.items()}
