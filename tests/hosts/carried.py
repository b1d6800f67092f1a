"""Hosts by their task: networks that people put slide attention into."""

from collections.abc import Callable

from torch import Tensor, nn

from tests.foreign.goldens import Nameless, golden
from tests.hosts import authors, carriers
from tests.hosts.host import Build, Host, drawn, noise
from tests.support import ATTENTIONS, golden_swin


def image_of(make: Callable[[], nn.Module], *shape: int) -> Build:
    """Return a builder of a network with random weights and one image."""
    return lambda: (drawn(make()), noise(*(shape or (1, 3, 32, 48))))


def _golden(name: str, around: Callable[..., nn.Module], nameless: bool) -> Build:
    """Return a builder of a network with random weights around a golden with its own."""

    def build() -> tuple[nn.Module, Tensor]:
        layer, _, _ = golden(name)
        own = {key: value.clone() for key, value in layer.state_dict().items()}
        model = drawn(around(layer, dim=32))
        layer.load_state_dict(own)
        if nameless:
            model = drawn(around(Nameless(layer), dim=32))
            layer.load_state_dict(own)
        return model, noise(1, 3, 24, 32)

    return build


def _two_inputs() -> tuple[nn.Module, dict[str, Tensor]]:
    model = drawn(carriers.TwoInputs())
    return model, {"condition": noise(1, 6), "image": noise(1, 3, 24, 32)}


def _known_swin() -> tuple[nn.Module, Tensor]:
    """Build the authors' layout with golden weights."""
    golden = golden_swin("slide_swin_nano")
    model = authors.SlideSwin()
    missing, unexpected = model.load_state_dict(golden.load().model.state_dict(), strict=False)
    assert not unexpected and all("index" in key or "mask" in key for key in missing)
    return model.eval(), golden.expected["image"][:1]


def _windows() -> nn.Module:
    """Build a larger one with shifted and masked windows."""
    return authors.SlideSwin(64, 8, (1, 2, 2), (1, 2, 4), window=4, slides=1, classes=3)


def _pyramid(size: int, dim: int, depths: tuple[int, ...]) -> Build:
    heads = tuple(2**i for i in range(len(depths)))

    def make() -> nn.Module:
        backbone = authors.SlideSwin(size, dim, depths, heads, window=8, slides=2)
        return authors.Pyramid(backbone, dim)

    return image_of(make, 1, 3, size, size)


CARRIED: tuple[Host, ...] = (
    *(
        Host(
            f"{name} in a residual net",
            _golden(name, carriers.ResidualNet, False),
            quick=("onnx",) if place == 0 else (),
        )
        for place, name in enumerate(ATTENTIONS)
    ),
    *(
        Host(f"{name} in a dense net", _golden(name, carriers.DenseNet, False), quick=())
        for name in ATTENTIONS
    ),
    Host("pyramid on Slide-Swin", _pyramid(64, 8, (1, 1, 1, 1)), 2, quick=()),
    Host("pyramid at 512x512", _pyramid(512, 16, (2, 2, 2, 2)), 4, slow=True),
    Host("detector", image_of(carriers.Detector), 3, quick=()),
    Host("super-resolution", image_of(carriers.SuperResolution, 1, 3, 12, 10), 2, quick=()),
    Host("segmenter", image_of(carriers.Segmenter)),
    Host("two inputs", _two_inputs),
    Host("shared modules", image_of(carriers.Shared)),
    Host("blocks of tokens", image_of(carriers.Tokens), 2, quick=()),
    Host("nested outputs", image_of(carriers.Everything)),
    Host("authors' Slide-Swin", _known_swin, 2),
    Host(
        "authors' Slide-Swin with shifted windows",
        image_of(_windows, 1, 3, 64, 64),
        1,
        quick=(),
    ),
)
