"""Hosts by the way they are written: names, wrappers, types, functions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.foreign import classes, written_otherwise
from tests.hosts import carriers
from tests.hosts.host import Build, Host, drawn, noise

# An attention that is left unchanged has tensors of rank 6.
SIX_AXES = {
    "coreml": "computes a tensor of 6 axes, and coreml allows at most 5: .* leave coreml out"
}


def around(make: Callable[[], nn.Module], draw: Callable[[nn.Module], Any] = drawn) -> Build:
    """Return a builder of a network with the layer between a convolution and arithmetic."""
    return lambda: (draw(carriers.Functions(make())), noise(1, 3, 24, 32))


def _renamed() -> tuple[nn.Module, Tensor]:
    model = drawn(carriers.Functions(classes.Renamed()))
    classes.drawn(model.attention)
    return model, noise(1, 3, 24, 32)


def _of_type(dtype: torch.dtype) -> Build:
    def build() -> tuple[nn.Module, Tensor]:
        return drawn(carriers.Segmenter()).to(dtype), noise(1, 3, 32, 48).to(dtype)

    return build


def _parallel() -> tuple[nn.Module, Tensor]:
    return nn.DataParallel(drawn(carriers.Detector())), noise(1, 3, 32, 48)


def _compiled() -> tuple[nn.Module, Tensor]:
    model = drawn(carriers.ResidualNet(classes.ForeignAttention(), classes.Tuple()))
    model.blocks[1] = torch.compile(model.blocks[1])
    return torch.compile(model), noise(1, 3, 32, 48)


def _hooked() -> tuple[nn.Module, Tensor]:
    """Hooks change inputs and outputs of layers outside the attention."""
    model = drawn(carriers.ResidualNet(classes.ForeignAttention()))
    model.stem.register_forward_hook(lambda module, args, out: out.clamp(max=1.5))
    model.head.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    return model, noise(1, 3, 32, 48)


WRITTEN: tuple[Host, ...] = (
    Host("functions", around(written_otherwise.Functional)),
    Host("weights in dicts", around(written_otherwise.InDicts), quick=()),
    Host("renamed branches", _renamed, quick=()),
    Host("wrapped branches", around(written_otherwise.Wrapped), quick=()),
    Host("branches in one module", around(written_otherwise.InOneModule), quick=()),
    Host("branches in a Sequential", around(classes.InSequential), quick=()),
    Host("separate projections", around(written_otherwise.Separate), quick=()),
    Host("sides as modules", around(written_otherwise.Sides), quick=()),
    Host("indexed table", around(written_otherwise.IndexedTable), quick=()),
    Host("weight norm", around(written_otherwise.WeightNorm), quick=()),
    Host("reflect padding", around(lambda: classes.ForeignAttention(mode="reflect"))),
    Host("replicate padding", around(lambda: classes.ForeignAttention(mode="replicate")), quick=()),
    Host("pads itself", around(classes.PadsItself), quick=()),
    Host("float16 weights", _of_type(torch.float16)),
    Host("bfloat16 weights", _of_type(torch.bfloat16), quick=()),
    Host("DataParallel", _parallel, 3, quick=()),
    Host("torch.compile", _compiled, 2, quick=()),
    Host("hooks", _hooked),
    Host("masked borders", around(classes.MaskedBorders), 0, left=("attention",), refused=SIX_AXES),
)
