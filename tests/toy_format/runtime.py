"""Runs toy files operator by operator, and is a target of the benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import Configuration, Tensor
from slide_deploy.backends.base import Availability, Loaded, Stage, Target
from slide_deploy.backends import Port, Session
from tests.toy_format.reader import content_of


def load(path: Path) -> Session:
    program, _ = content_of(path)

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        values = inner_values(path, feeds)
        return [values[name] for name in program["outputs"]]

    port = Port(program["input"]["name"], tuple(program["input"]["shape"]))
    return Session("toy-runtime", "1", (port,), tuple(program["outputs"]), run)


def inner_values(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    program, weights = content_of(path)
    values = {name: torch.from_numpy(array) for name, array in weights.items()}
    values |= {name: torch.from_numpy(array) for name, array in feeds.items()}
    for entry in program["operators"]:
        name, _, overload = entry["operator"].partition(".")
        operator = getattr(getattr(torch.ops.aten, name), overload or "default")
        given = {key: _argument(held, values) for key, held in entry["arguments"].items()}
        result = operator(**given)
        several = isinstance(result, list | tuple)
        for output, value in zip(entry["outputs"], result if several else [result], strict=True):
            values[output["value"]] = value
    return {name: value.numpy() for name, value in values.items() if name not in weights}


def _argument(held: Any, values: dict[str, torch.Tensor]) -> Any:
    if isinstance(held, dict):
        return values[held["value"]]
    return [_argument(item, values) for item in held] if isinstance(held, list) else held


def _bench(path: Path, configuration: Configuration, stage: Stage) -> Loaded:
    session = load(path)
    (port,) = session.inputs
    image = np.zeros([size or 1 for size in port.shape], np.float32)
    tensor = Tensor(port.name, "float32", image.shape)

    def call() -> None:
        session.run({port.name: image})

    return Loaded(lambda: call, (tensor,), {})


TARGET = Target(
    "tests.toy_format.runtime:TARGET", (".toy",), lambda: Availability(True, "here"), _bench
)
