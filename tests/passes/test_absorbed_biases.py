"""The bias of a projection is absorbed into its weights, behind a normalisation that adds 1."""

import copy

import pytest
import torch
from torch import Tensor, nn

from slide_deploy.passes.running import run_passes
from tests.passes.rewriting import LIMIT, program, rewritten
from tests.passes.test_normalised_projections import WAYS, Behind

PASSES = ("normalised_projections", "absorbed_biases")


def biases(exported: torch.export.ExportedProgram) -> int:
    return sum(
        len(node.args) > 2 and node.args[2] is not None
        for node in exported.graph.nodes
        if "linear" in str(node.target)
    )


@pytest.mark.parametrize("name", WAYS)
def test_no_projection_has_a_bias_left(name: str) -> None:
    found = rewritten(program(Behind(WAYS[name]), (2, 6, 8), open_batch=True), *PASSES)
    assert biases(found.program) == 0
    assert found.report.changes
    assert found.error < LIMIT


def test_a_normalisation_without_weights_needs_no_other_pass() -> None:
    net = Behind(WAYS["at once"], norm=nn.LayerNorm(8, elementwise_affine=False))
    found = rewritten(program(net, (2, 6, 8)), "absorbed_biases")
    assert biases(found.program) == 0 and found.error < LIMIT


LEFT = {
    "a weight in the normalisation": (Behind(WAYS["at once"]), ("absorbed_biases",)),
    "no mean is taken away": (Behind(WAYS["at once"], norm=nn.RMSNorm(8)), PASSES),
    "two axes are normalised": (
        Behind(
            WAYS["at once"],
            norm=nn.LayerNorm((6, 8), elementwise_affine=False),
        ),
        PASSES,
    ),
    "a convolution reads it": (
        Behind(lambda net, x: net.last(x.transpose(1, 2)), last=nn.Conv1d(8, 4, 1)),
        PASSES,
    ),
    "no bias is there": (
        Behind(WAYS["at once"], norm=nn.RMSNorm(8), last=nn.Linear(8, 5, bias=False)),
        PASSES,
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_biases_are_left_unchanged(name: str) -> None:
    net, passes = LEFT[name]
    found = rewritten(program(net, (2, 6, 8)), *passes)
    assert not found.report.changes and found.error < LIMIT


@pytest.mark.parametrize("size", [0.0, 1.0, 1.9], ids=["no bias", "biases", "large biases"])
@pytest.mark.parametrize("shift", [0.0, 0.1], ids=["centred weights", "weights of one sign"])
def test_float32_rounding_grows_by_less_than_two(size: float, shift: float) -> None:
    net, tokens = layer(size, shift)
    before = torch.export.export(net, (tokens,))
    after, (report,) = run_passes(before, ("absorbed_biases",))
    assert report.changes
    wanted = copy.deepcopy(net).double()(tokens.double())

    def error(exported: torch.export.ExportedProgram) -> float:
        output: Tensor = exported.module()(tokens)
        return float((output.double() - wanted).square().mean().sqrt())

    assert error(after) <= 2 * error(before)


def test_large_biases_are_left_unchanged() -> None:
    net, tokens = layer(10.0, 0.0)
    _, (report,) = run_passes(torch.export.export(net, (tokens,)), ("absorbed_biases",))
    assert not report.changes and "large" in report.refusals[0].why


def layer(size: float, shift: float) -> tuple[nn.Module, Tensor]:
    """A normalisation and a projection whose weights have norm 1, in float32."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.LayerNorm(96, elementwise_affine=False), nn.Linear(96, 384)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(384, 96, generator=generator) / 96**0.5 + shift)
        net[1].bias.copy_(size * torch.randn(384, generator=generator))
    return net, 3 * torch.randn(4, 200, 96, generator=generator) + 3
