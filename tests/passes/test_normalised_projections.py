"""The weights of a normalisation move into the projections that read it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.passes.rewriting import LIMIT, Rewritten, program, rewritten
from tests.passes.transformers import NETWORKS

NAME = "normalised_projections"
TOKENS = (2, 6, 8)


class Behind(nn.Module):
    """A normalisation of tokens, a function, and a projection."""

    def __init__(self, way, norm: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = norm or nn.LayerNorm(8)
        self.other = nn.Linear(8, 3)
        self.last = last or nn.Linear(8, 5)
        self.way = way

    def forward(self, tokens: Tensor):
        return self.way(self, self.norm(tokens))


def of(way, shape=TOKENS, **parts) -> Rewritten:
    return rewritten(program(Behind(way, **parts), shape, open_batch=True), NAME)


def weights_left(found: Rewritten) -> int:
    """The normalisations that still have weights."""
    return sum(
        len(node.args) > 2 and node.args[2] is not None
        for node in found.program.graph.nodes
        if "norm" in str(node.target)
    )


WAYS = {
    "at once": lambda net, x: net.last(x),
    "several readers": lambda net, x: torch.cat([net.last(x), net.other(x)], -1),
    "positions in two axes": lambda net, x: net.last(x.view(-1, 2, 3, 8)),
    "windows": lambda net, x: net.last(
        x.reshape(-1, 2, 3, 8).reshape(-1, 2, 24).transpose(1, 2).transpose(1, 2).reshape(-1, 3, 8)
    ),
    "a slice": lambda net, x: net.last(x[:, 1:4]),
    "one position": lambda net, x: net.last(x[:, 0]),
    "parts": lambda net, x: torch.cat([net.last(part) for part in x.split(2, 1)], 1),
    "rolled": lambda net, x: net.last(torch.roll(x, 2, 1)),
    "joined again": lambda net, x: net.last(torch.cat([x[:, 3:], x[:, :3]], 1)),
    "a mean of positions": lambda net, x: net.last(x.mean(1)),
    "there and back": lambda net, x: net.last(x.permute(2, 0, 1).permute(1, 2, 0)),
}


@pytest.mark.parametrize("name", WAYS)
def test_weights_move_through_operators_that_keep_features_together(name: str) -> None:
    found = of(WAYS[name])
    assert weights_left(found) == 0
    assert found.report.changes and not found.report.refusals
    assert found.error < LIMIT


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_move_into_a_convolution_of_any_size_without_padding(groups: int) -> None:
    found = of(
        lambda net, x: net.last(x.transpose(1, 2).reshape(-1, 8, 2, 3)),
        last=nn.Conv2d(8, 4, 2, groups=groups),
    )
    assert weights_left(found) == 0 and found.error < LIMIT


@pytest.mark.parametrize(
    "norm",
    [nn.RMSNorm(8), nn.LayerNorm(8, bias=False)],
    ids=["rms", "no bias"],
)
@pytest.mark.parametrize("bias", [True, False])
def test_normalisations_and_projections_without_bias(norm: nn.Module, bias: bool) -> None:
    found = of(WAYS["at once"], norm=norm, last=nn.Linear(8, 5, bias=bias))
    assert weights_left(found) == 0 and found.error < LIMIT


def test_a_projection_without_bias_gets_one() -> None:
    found = of(WAYS["at once"], last=nn.Linear(8, 5, bias=False))
    (linear,) = (node for node in found.program.graph.nodes if "linear" in str(node.target))
    assert linear.args[2] is not None and found.error < LIMIT


def test_group_normalisation_moves_into_a_convolution() -> None:
    found = of(
        lambda net, x: net.last(x),
        shape=(2, 8, 4, 4),
        norm=nn.GroupNorm(2, 8),
        last=nn.Conv2d(8, 3, 1),
    )
    assert weights_left(found) == 0 and found.error < LIMIT


LEFT = {
    "read by an addition": lambda net, x: net.last(x) + x[..., :5],
    "an output": lambda net, x: (net.last(x), x),
    "an activation between": lambda net, x: net.last(functional.gelu(x)),
    "a slice of the features": lambda net, x: net.last(torch.cat([x[..., :4], x[..., 4:]], -1)),
    "rolled features": lambda net, x: net.last(torch.roll(x, 1, 2)),
    "another axis is projected": lambda net, x: net.last(
        x.reshape(-1, 2, 3, 8).reshape(-1, 2, 24).transpose(1, 2).reshape(-1, 6, 8)
    ),
    "joined with other values": lambda net, x: net.last(torch.cat([x, torch.ones_like(x)], 1)),
    "zeros around": lambda net, x: net.last(functional.pad(x, (0, 0, 1, 1))),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_normalisation_with_other_readers_is_left_unchanged(name: str) -> None:
    found = of(LEFT[name])
    assert not found.report.changes
    assert found.before == found.after and found.error == 0


def test_a_normalisation_before_a_padded_convolution_is_left_unchanged() -> None:
    found = of(
        lambda net, x: net.last(x.transpose(1, 2)),
        last=nn.Conv1d(8, 4, 3, padding=1),
    )
    assert not found.report.changes
    assert "pads with zeros" in found.report.refusals[0].why


def test_a_normalisation_is_left_unchanged_if_an_earlier_layer_shares_the_weights() -> None:
    found = of(lambda net, x: net.last(x) + net.last(x * 0 + 1))
    assert not found.report.changes and found.report.refusals


def test_a_projection_of_positions_is_no_projection_of_features() -> None:
    """There are as many positions as features, so only the axis tells them apart."""
    found = of(lambda net, x: net.last(x.transpose(1, 2)), shape=(2, 8, 8))
    assert not found.report.changes and found.error == 0


@pytest.mark.parametrize("name", ["vit", "vit apart", "windows", "next"])
def test_every_normalisation_of_a_network(name: str) -> None:
    make, shape = NETWORKS[name]
    found = rewritten(program(make(), (2, *shape), open_batch=True), NAME)
    assert weights_left(found) == 0 and found.error < LIMIT


def test_new_weights_are_rounded_once() -> None:
    net = Behind(WAYS["at once"])
    exported = torch.export.export(net.eval(), (torch.randn(TOKENS),))
    found = rewritten_weights(exported)
    norm, last = net.norm, net.last
    wanted = (last.weight.double() * norm.weight.double()).float()
    assert any(torch.equal(held, wanted) for held in found.values() if held.shape == wanted.shape)


def rewritten_weights(exported: torch.export.ExportedProgram) -> dict[str, Tensor]:
    from slide_deploy.passes.running import run_passes

    return dict(run_passes(exported, (NAME,))[0].state_dict)
