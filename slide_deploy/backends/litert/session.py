"""A session of LiteRT's interpreter, and the streams that run it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds, Port, Session, Stage, session_name
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.litert.interpreter import (
    SUFFIXES,
    open_interpreter,
    refusals,
    require,
    version,
)
from slide_deploy.backends.litert.partitions import Partitions, partitions
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.saved.tflite.model import opened as taken_apart

Open = Callable[[], Any]
"""Returns an interpreter, with memory allocated for its tensors."""


def open_on_cpu(
    target: str, xnnpack: bool, path: Path, configuration: Configuration, stage: Stage
) -> Session:
    """Open a file on the CPU; see `Target`.

    Args:
        target: its name.
        xnnpack: whether XNNPACK runs the operators that it supports.
        path: of the file.
        configuration: how to run it.
        stage: times reading and compiling, which are one stage in LiteRT.
    """
    refuse_unusable(path, target, SUFFIXES)
    refuse_options(target, configuration.options, ())
    with stage("import"):
        require()
    kernels = "XNNPACK" if xnnpack else "LiteRT's own"
    new = partial(open_interpreter, path, configuration.threads, xnnpack=xnnpack)
    return opened(target, path, configuration, stage, new, {"kernels": kernels})


def opened(
    target: str,
    path: Path,
    configuration: Configuration,
    stage: Stage,
    new: Open,
    facts: Mapping[str, str],
    accept: Callable[[Partitions], None] = lambda found: None,
) -> Session:
    """Return the session of a file in an interpreter.

    Args:
        target: its name.
        path: of the file.
        configuration: how to run it.
        stage: times reading and compiling.
        new: returns an interpreter of the file.
        facts: about the target, in addition to those of every LiteRT session.
        accept: raises `InputError` if a delegate did not take enough operators.

    Raises:
        InputError: if LiteRT refuses the file or the configuration.
    """
    refuse_precision(target, configuration.precision)
    parts = taken_apart(path)
    parts.refuse_missing_tensors()
    with stage("compile"), refusals(path):
        first = new()
        inputs, outputs = ports_of(first)
        ports = sized(path, [port for port, _ in inputs], configuration)
        _resize(first, ports, inputs)
        found = partitions(first)
    accept(found)
    spare = [first]

    def new_stream() -> "InterpreterStream":
        # An interpreter runs one call at a time, so each stream has its own.
        interpreter = spare.pop() if spare else new()
        _resize(interpreter, ports, inputs)
        places = {port.name: place for port, place in inputs}
        return InterpreterStream(interpreter, places, [place for _, place in outputs])

    return Session(
        runtime=session_name(target, configuration.precision),
        version=version(),
        inputs=ports,
        outputs=tuple(name for name, _ in outputs),
        new_stream=new_stream,
        facts={
            "library": "ai-edge-litert",
            "version": version(),
            "device": target.partition(":")[2],
            "precision": configuration.precision,
            "threads": str(configuration.threads),
            **facts,
            **found.facts(),
        },
        metadata=parts.metadata(),
    )


class InterpreterStream:
    """Calls of an interpreter.

    Args:
        interpreter: of LiteRT; no other stream uses it.
        inputs: the tensor index of each input, by the input's name.
        outputs: tensor indices of the outputs.
    """

    def __init__(self, interpreter: Any, inputs: Mapping[str, int], outputs: Sequence[int]) -> None:
        self._interpreter = interpreter
        self._inputs = inputs
        self._outputs = outputs

    def bind(self, feeds: Feeds) -> None:
        """Set a tensor for each input, by name. A new shape allocates the tensors again."""
        given = {self._inputs[name]: np.asarray(array, order="C") for name, array in feeds.items()}
        shapes = {
            int(detail["index"]): tuple(detail["shape"])
            for detail in self._interpreter.get_input_details()
        }
        others = {place: array for place, array in given.items() if array.shape != shapes[place]}
        for place, array in others.items():
            self._interpreter.resize_tensor_input(place, array.shape, strict=True)
        if others:
            self._interpreter.allocate_tensors()
        for place, array in given.items():
            self._interpreter.set_tensor(place, array)

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self._interpreter.invoke()

    def read(self) -> list[np.ndarray]:
        """Return copies of the last call's outputs."""
        return [self._interpreter.get_tensor(place) for place in self._outputs]


def ports_of(interpreter: Any) -> tuple[list[tuple[Port, int]], list[tuple[str, int]]]:
    """Return inputs and outputs in the order of the file, each with its tensor index.

    Their names are those of the signature; a file without a signature has names of tensors only.
    """
    names: dict[int, str] = {}
    for key in list(interpreter.get_signature_list())[:1]:
        runner = interpreter.get_signature_runner(key)
        for details in (runner.get_input_details(), runner.get_output_details()):
            names |= {int(detail["index"]): name for name, detail in details.items()}
    inputs = []
    for detail in interpreter.get_input_details():
        place = int(detail["index"])
        sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        shape = tuple(None if size == -1 else int(size) for size in sizes)
        dtype = np.dtype(detail["dtype"]).name
        inputs.append((Port(names.get(place, detail["name"]), shape, dtype), place))
    outputs = [
        (names.get(int(detail["index"]), detail["name"]), int(detail["index"]))
        for detail in interpreter.get_output_details()
    ]
    return inputs, outputs


def _resize(interpreter: Any, ports: Sequence[Port], inputs: Sequence[tuple[Port, int]]) -> None:
    """Set open sizes to the values of the configuration."""
    resized = False
    for settled, (described, place) in zip(ports, inputs, strict=True):
        if settled.shape != described.shape and None not in settled.shape:
            interpreter.resize_tensor_input(place, settled.shape, strict=True)
            resized = True
    if resized:
        interpreter.allocate_tensors()
