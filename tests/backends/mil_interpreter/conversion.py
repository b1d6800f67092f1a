"""Many small torch modules through coremltools at once, since converting costs the time."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.backends.mil_interpreter import MilProgram
from slide_deploy.saved.mlpackage import open_package

# What orders of summation and other formulas may add to one rounding of the largest number.
ROUNDINGS = 16


@dataclass(frozen=True)
class Case:
    """A module, the shapes of its inputs, and operators that it must become.

    Attributes:
        module: answers one tensor.
        shapes: one an input; filled at random.
        operators: names of MIL, separated by spaces.
        widest: pixels of the map that is looked up at computed points. A point is rounded relative
            to that, and the answer changes as much as the map does from pixel to pixel.
    """

    module: nn.Module | Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    operators: str = ""
    widest: int = 1


class Beside(nn.Module):
    """All modules beside each other, each with inputs of its own."""

    def __init__(self, cases: Mapping[str, Case]) -> None:
        super().__init__()
        self.calls = [case.module for case in cases.values()]
        self.counts = [len(case.shapes) for case in cases.values()]
        self.held = nn.ModuleList(call for call in self.calls if isinstance(call, nn.Module))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        waiting = iter(inputs)
        return tuple(
            call(*(next(waiting) for _ in range(count))).float()
            for call, count in zip(self.calls, self.counts, strict=True)
        )


@dataclass(frozen=True)
class Converted:
    """What the interpreter and torch answer.

    Attributes:
        operators: of the package.
        actual: of the interpreter, by the name of the case.
        expected: of torch.
        widest: of the cases.
    """

    operators: frozenset[str]
    actual: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    widest: Mapping[str, int]

    def check(self, name: str) -> None:
        """Compare one case; the limit is some roundings of the largest number."""
        actual, expected = self.actual[name], self.expected[name]
        assert actual.shape == expected.shape
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        limit = ROUNDINGS * np.finfo(np.float32).eps * scale * self.widest[name]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)


def convert_all(
    cases: Mapping[str, Case], path: Path, opset: str, traced: bool = False
) -> Converted:
    """Convert all modules into one package, run it, and run torch beside it.

    Args:
        cases: by name.
        path: of the package.
        opset: the deployment target, ``iOS16`` for example.
        traced: through ``torch.jit.trace`` in place of ``torch.export``.
    """
    import coremltools as ct

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    random = torch.Generator().manual_seed(7)
    shapes = [shape for case in cases.values() for shape in case.shapes]
    inputs = tuple(torch.randn(shape, generator=random) for shape in shapes)
    model = Beside(cases).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        expected = model(*inputs)
        names = [f"in_{index}" for index in range(len(inputs))]
        if traced:
            program = torch.jit.trace(model, inputs)
        else:
            program = torch.export.export(model, inputs).run_decompositions({})
            _drop_aliases(program)
        package = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[
                ct.TensorType(name=name, shape=shape)
                for name, shape in zip(names, shapes, strict=True)
            ],
            outputs=[ct.TensorType(name=f"out_{index}") for index in range(len(cases))],
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=getattr(ct.target, opset),
            skip_model_load=True,
        )
    package.save(str(path))
    answers = MilProgram.load(path).run(
        {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    )
    return Converted(
        frozenset(operation.type for operation in open_package(path).main.block.operations),
        {name: answers[f"out_{index}"] for index, name in enumerate(cases)},
        {name: tensor.numpy() for name, tensor in zip(cases, expected, strict=True)},
        {name: case.widest for name, case in cases.items()},
    )


def _drop_aliases(program: torch.export.ExportedProgram) -> None:
    """Second names of a value, which the converter does not know."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
