"""Normalisations, and softmaxes along inner axes, become basic operators."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from exporters.epsilons import epsilons
from slide_deploy.passes.running import run_passes


class Normalised(nn.Module):
    def __init__(self, *shape: int, **settings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape, **settings)
        if self.norm.weight is not None:
            nn.init.normal_(self.norm.weight)
        if self.norm.bias is not None:
            nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Softmax(nn.Module):
    def __init__(self, axis: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.axis, self.dtype = axis, dtype

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, self.axis, self.dtype)


def rewritten(model: nn.Module, x: Tensor, **options) -> tuple[Counter[str], int]:
    """Count each operator after the pass, and the changed places."""
    program = torch.export.export(model.eval(), (x,), **options)
    written, (report,) = run_passes(program, ("written_out",))
    for factor in (1.0, 100.0):
        output, wanted = (each.module()(x * factor) for each in (written, program))
        torch.testing.assert_close(output, wanted)
    names = (str(node.target) for node in written.graph.nodes if node.op == "call_function")
    return Counter(name.removeprefix("aten.").partition(".")[0] for name in names), len(
        report.changes
    )


X = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)) + 3


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        (Normalised(7), "mean sub mul mean add rsqrt mul mul add"),
        (Normalised(7, bias=False), "mean sub mul mean add rsqrt mul mul"),
        (Normalised(7, elementwise_affine=False), "mean sub mul mean add rsqrt mul"),
        (Normalised(5, 7, eps=1e-3), "mean sub mul mean add rsqrt mul mul add"),
    ],
)
def test_a_normalisation_becomes_basic_operators(model: nn.Module, operators: str) -> None:
    assert rewritten(model, X) == (Counter(operators.split()), 1)


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_a_softmax_along_an_inner_axis_becomes_basic_operators(axis: int) -> None:
    assert rewritten(Softmax(axis), X) == (Counter(["amax", "sub", "exp", "sum", "div"]), 1)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Softmax(2), X),  # one operator everywhere
        (Softmax(-1), X),
        (Softmax(0, torch.float64), X),  # computes in another type
        (Softmax(0), X[0, 0]),  # the only axis
    ],
)
def test_other_operators_are_left_unchanged(model: nn.Module, x: Tensor) -> None:
    assert rewritten(model, x) == (Counter(softmax=1), 0)


def test_large_numbers_overflow_no_exponential() -> None:
    x = torch.tensor([[1e4, -1e4], [2e4, 3e4]])
    assert rewritten(Softmax(0), x)[1] == 1


def test_an_open_batch_stays_open() -> None:
    batch = {0: torch.export.Dim("batch", min=1, max=9)}
    operators, changes = rewritten(Normalised(7), X, dynamic_shapes=(batch,))
    assert (operators["rsqrt"], changes) == (1, 1)


def test_written_out_operators_are_still_declared() -> None:
    program = torch.export.export(Normalised(7, eps=1e-6).eval(), (X,))
    written, _ = run_passes(program, ("written_out",))
    assert epsilons(written) == epsilons(program)
    assert {key: each.least for key, each in epsilons(written).items()} == {1e-6: 1}
