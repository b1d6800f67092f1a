"""A toy format for the tests: the operators of an exported program as JSON beside its weights.

One numpy archive holds all of it: the entry ``program`` is the JSON text, every other entry a
weight under its name. An argument ``{"value": name}`` is a tensor.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporters.base import ExportRequest
from slide_deploy.errors import InputError
from slide_deploy.program.traced import Traced

VERSION = 3


def write(request: ExportRequest, path: Path) -> None:
    if request.deployable.open_names:
        raise InputError("toy files have a fixed batch: export without --dynamic-batch.")
    program, weights = _Writer(request).write()
    with path.open("wb") as file:
        np.savez(file, program=np.frombuffer(json.dumps(program).encode(), np.uint8), **weights)


class _Writer:
    def __init__(self, request: ExportRequest) -> None:
        self._request = request
        self._names: dict[str, str] = {}
        self._weights: dict[str, np.ndarray] = {}

    def write(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The program as plain data, and the weights that it uses."""
        program = self._request.single
        traced = Traced(program)
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        inputs = iter([each.name for each in self._request.inputs])
        operators: list[dict[str, Any]] = []
        outputs: list[str] = []
        for node in program.graph.nodes:
            if node.op == "placeholder":
                weight = traced.weight(node)
                if weight is not None:
                    self._names[node.name] = f"{targets[node.name]}"
                    self._weights[self._names[node.name]] = weight.numpy()
                else:
                    self._names[node.name] = next(inputs)
            elif node.op == "output":
                outputs = [self._names[result.name] for result in node.args[0]]
            elif node.target.__name__ == "getitem":
                source, index = node.args
                self._names[node.name] = f"{self._names[source.name]}.{index}"
            else:
                self._names[node.name] = node.name
                operators.append(self._operator(node))
        (image,) = self._request.inputs
        renamed = dict(zip(outputs, self._request.outputs, strict=True))
        content = {
            "version": VERSION,
            "metadata": dict(self._request.metadata),
            "input": {"name": image.name, "shape": list(image.shape)},
            "operators": operators,
            "outputs": list(self._request.outputs),
        }
        return _renamed(content, renamed), self._weights

    def _operator(self, node: torch.fx.Node) -> dict[str, Any]:
        names = [argument.name for argument in node.target._schema.arguments]
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        results = node.meta["val"]
        several = isinstance(results, list | tuple)
        return {
            "name": node.name,
            "operator": node.target.name().removeprefix("aten::"),
            "arguments": {name: self._argument(value) for name, value in given.items()},
            "outputs": [
                {
                    "value": f"{node.name}.{index}" if several else node.name,
                    "shape": list(result.shape),
                }
                for index, result in enumerate(results if several else [results])
            ],
        }

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return {"value": self._names[value.name]}
        if isinstance(value, list | tuple):
            return [self._argument(item) for item in value]
        return value


def _renamed(content: Any, names: dict[str, str]) -> Any:
    """The same where values that leave the program have the names that callers ask for."""
    if isinstance(content, list):
        return [_renamed(item, names) for item in content]
    if isinstance(content, dict):
        return {
            key: names.get(held, held) if key == "value" else _renamed(held, names)
            for key, held in content.items()
        }
    return content
