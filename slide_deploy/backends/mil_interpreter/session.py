"""The interpreter as a backend, which checks Core ML files without a Mac."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from slide_deploy import __version__
from slide_deploy.backends.base import Configuration, Feeds, FunctionStream, Port, Session, Stage
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.mil_interpreter.program import MilProgram
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.errors import InputError, MissingExtra

NAME = "mil-interpreter:cpu"
SUFFIXES = (".mlpackage",)


def open_program(path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read an ``.mlpackage`` and plan its program, which runs on torch's threads.

    Raises:
        InputError: if the package is damaged or uses an unsupported operator, or the interpreter
            does not support the configuration.
        MissingExtra: without torch or coremltools.
    """
    refuse_unusable(path, NAME, SUFFIXES)
    refuse_precision(NAME, configuration.precision)
    refuse_options(NAME, configuration.options, ())
    with stage("import"):
        if find_spec("coremltools") is None:
            raise MissingExtra("coremltools", "coreml")
    with stage("read"):
        program = MilProgram.load(path)
    ports = []
    for name, port in program.inputs.items():
        if port.shape is None:
            raise InputError(
                f"{path} does not declare the shape of {name}: export the model again."
            )
        sizes = tuple(size if isinstance(size, int) else None for size in port.shape)
        ports.append(Port(name, sizes, port.dtype, port.colours != ""))
    return Session(
        runtime="mil-interpreter",
        version=__version__,
        inputs=sized(path, ports, configuration),
        outputs=tuple(program.outputs),
        new_stream=lambda: FunctionStream(partial(_outputs, program)),
        facts={
            "library": "slide-deploy",
            "version": __version__,
            "device": "CPU",
            "precision": "as the package holds it",
        },
        metadata=program.user_metadata,
    )


def _outputs(program: MilProgram, feeds: Feeds) -> list[np.ndarray]:
    """Return every output for RGB images.

    An application passes a picture to Core ML, which passes the program its channels in the order
    that the package declares.
    """
    inputs = program.inputs
    ordered = {
        name: values[:, ::-1] if name in inputs and inputs[name].colours == "BGR" else values
        for name, values in feeds.items()
    }
    outputs = program.run(ordered)
    return [np.asarray(outputs[name]) for name in program.outputs]


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that the package computes; see `Target`."""
    program = MilProgram.load(path)
    values = program.run(dict(feeds), keep=program.computed_floats)
    return {name: np.asarray(value) for name, value in values.items()}
