"""Slide attention is recognised in files however it is written, and whatever stands around it."""

import pytest
import torch
from torch import Tensor, nn

from tests.foreign import classes
from tests.foreign.classes import drawn
from tests.foreign.goldens import Nameless, golden
from tests.foreign.test_traced import LAYERS, filled
from tests.hosts.carriers import ResidualNet, first
from tests.onnx_network.files import Recognised, Writer, recognised
from tests.shared import once
from tests.support import ATTENTIONS

WRITERS = (Writer("dynamo", 18), Writer("torchscript", 13), Writer("torchscript", 18, "open"))
# Each stands in a network of its own, or with two others of its width.
# A file has no lists and no numbers among its outputs.
WAYS = tuple(way for way in LAYERS if way != "list, numbers, dropped path")
GROUPS = [WAYS[start::9] for start in range(9)]


def seen(key: object, model: nn.Module, writer: Writer, shape: tuple[int, ...]) -> Recognised:
    """Write a network once, and recognise it at a batch that the file takes."""

    def make(folder):  # type: ignore[no-untyped-def]
        writer.write(model, torch.zeros(shape), folder / "model.onnx")
        return folder / "model.onnx"

    batch = {1: 1, 2: 2, "open": 3}[writer.batch]
    return recognised(once(("attentions in onnx", key, writer), make), (batch, *shape[1:]))


class Placed(nn.Module):
    """One attention in four places: in a residual, alone, between transposes, behind a stride."""

    def __init__(self, layers: tuple[nn.Module, ...], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm, self.down = nn.LayerNorm(dim), nn.Conv2d(dim, dim, 3, 2, 1)
        drawn(self.down)

    def forward(self, x: Tensor) -> Tensor:
        residual, alone, between, behind = self.layers
        x = x + first(residual(x))
        x = torch.relu(first(alone(x)))
        last = self.norm(x.permute(0, 2, 3, 1))
        last = last + first(between(last.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        x = self.down(last.permute(0, 3, 1, 2))
        return torch.tanh(first(behind(x)))


def marks(rest: int) -> list[pytest.MarkDecorator]:
    """Leave one case in turn to the quick tests, and the others to make full."""
    return [pytest.mark.full] * (rest > 0)


@pytest.mark.slow
@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("name", "nameless", "writer"),
    [
        pytest.param(
            name,
            nameless,
            writer,
            id=f"{name}-{'nameless' if nameless else 'layers'}-{writer}",
            marks=marks((place + 3 * nameless + turn) % 6),
        )
        for place, name in enumerate(ATTENTIONS)
        for nameless in (False, True)
        for turn, writer in enumerate(WRITERS)
        # The older exporter makes a constant of ``len(x)``, so that the file takes one batch only.
        if not (nameless and writer == WRITERS[2])
    ],
)
def test_golden_attentions_in_every_place(name: str, nameless: bool, writer: Writer) -> None:
    made = [golden(name) for _ in range(4)]
    layers = tuple(Nameless(layer) if nameless else layer for layer, _, _ in made)
    shape = tuple(made[0][1].shape)
    model = Placed(layers, shape[1])
    found = seen((name, nameless), model, writer, (1, *shape[1:]))
    assert found.certificate.status == "folded" and len(found.certificate.folded) == 4
    assert not found.remarks
    assert found.error < 1e-5


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("ways", "writer"),
    [
        pytest.param(
            ways,
            writer,
            id=f"{place}-{writer}",
            marks=marks((place + turn) % 6),
        )
        for place, ways in enumerate(GROUPS)
        for turn, writer in enumerate(WRITERS)
    ],
)
def test_attentions_as_others_write_them(ways: tuple[str, ...], writer: Writer) -> None:
    if writer.exporter == "dynamo":  # which takes no attention over more than four axes
        ways = tuple(way for way in ways if way != "scaled_dot_product_attention")
    made = [LAYERS[way] for way in ways]
    model = ResidualNet(*(filled(kind(**settings)) for kind, settings in made))
    found = seen(ways, drawn(model), writer, (1, 3, 28, 20))
    assert not found.certificate.left and not found.remarks
    assert len(found.certificate.folded) == len(ways)
    assert found.error < 1e-5


@pytest.mark.slow_but_first
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_other_padding_modes(mode: str, kernel: int) -> None:
    model = ResidualNet(drawn(classes.ForeignAttention(kernel=kernel, mode=mode)))
    writer = Writer("torchscript" if kernel == 3 and mode != "circular" else "dynamo", 18)
    found = seen((mode, kernel), model.eval(), writer, (1, 3, 28, 20))
    assert found.certificate.status == "folded" and found.error < 1e-5


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (classes.NormalisedQueries, "computes something else"),
        (classes.BiasOnLogits, "computes something else"),
        (classes.LimitedLogits, "computes something else"),
        (classes.MaskedBorders, "borders"),
    ],
)
def test_layers_that_compute_something_else_are_left(
    kind: type[classes.ForeignAttention], why: str
) -> None:
    model = ResidualNet(drawn(kind()), drawn(classes.ForeignAttention(), seed=1))
    found = seen(kind.__name__, model.eval(), Writer("torchscript", 17), (1, 3, 28, 20))
    assert [line.name for line in found.certificate.folded] == ["blocks/1/layer"]
    (left,) = found.certificate.left
    assert left.name == "blocks/0/layer" and why in left.reason
    assert found.error < 1e-5


class OverTokens(nn.Module):
    """Attention over all nine tokens, or over as many numbers as a slide attention has offsets."""

    def __init__(self, is_square: bool) -> None:
        super().__init__()
        self.qkv, self.is_square = nn.Linear(8, 24), is_square

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        if not self.is_square:
            q = q[:, :4]
        return (q @ k.transpose(1, 2)).softmax(-1) @ v


def test_an_attention_over_a_window_is_no_slide_attention() -> None:
    """It has as many queries as keys; the reader is told of others only."""
    for is_square in (True, False):
        model = drawn(OverTokens(is_square))
        found = seen(("tokens", is_square), model, Writer("torchscript", 17), (1, 9, 8))
        assert found.certificate.status == "nothing to fold" and found.error < 1e-5
        remark = "/Softmax looks like a slide attention and was left: no value before it"
        assert [each.startswith(remark) for each in found.remarks] == ([] if is_square else [True])
