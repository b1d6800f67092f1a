"""A target that runs toy files operator by operator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slide_deploy.backends.base import (
    Availability,
    Configuration,
    FunctionStream,
    Port,
    Session,
    Stage,
    Target,
)
from slide_deploy.backends.inputs import sized
from tests.toy_format.reader import content_of


def open_toy(path: Path, configuration: Configuration, stage: Stage) -> Session:
    program, _ = content_of(path)

    def answers(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        values = intermediates(path, feeds)
        return [values[name] for name in program["outputs"]]

    port = Port(program["input"]["name"], tuple(program["input"]["shape"]))
    inputs, outputs = sized(path, [port], configuration), tuple(program["outputs"])
    return Session("toy-runtime", "1", inputs, outputs, lambda: FunctionStream(answers))


def intermediates(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
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


TARGET = Target(
    "tests.toy_format.runtime:TARGET",
    (".toy",),
    lambda: Availability(True, "here"),
    open_toy,
    intermediates,
)
