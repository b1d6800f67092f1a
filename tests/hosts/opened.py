"""Hosts with open height and width, in every form."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.foreign import classes
from tests.hosts import carriers
from tests.hosts.carried import image_of
from tests.hosts.host import Host
from tests.support import FORMATS

HEIGHT_AND_WIDTH = {"image": {2: "height", 3: "width"}}
CLOSE = "leave height and width fixed for coreml, or leave coreml out"
RESIZED = {"coreml": rf"computes upsample_\w+, which coremltools supports only .* size: {CLOSE}"}
ONE_SIZE = r"needs feature maps of a fixed size: leave the image size fixed, or choose one of"


class Scaled(nn.Module):
    """Computes with sizes: half as many rows, twice as many columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attend = nn.Conv2d(3, 12, 1), carriers.Residual(classes.ForeignAttention())

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        x = self.attend(self.stem(image))
        x = nn.functional.interpolate(x, size=(height // 2, 2 * width))
        return x.flatten(2).mean(2, keepdim=True) + x.flatten(2)


def _host(name: str, make: Callable[[], nn.Module], *shape: int, **settings: Any) -> Host:
    build = image_of(make, *(shape or (1, 3, 32, 48)))
    return Host(name, build, open_sizes=HEIGHT_AND_WIDTH, **settings)


def _in_form(form: str, refused: bool) -> Host:
    return _host(
        f"open super-resolution, {form}",
        carriers.SuperResolution,
        *(1, 3, 12, 10),
        folds=2,
        lowering=form,
        refused=dict.fromkeys(FORMATS, ONE_SIZE) if refused else {},
        quick=("onnx",) if refused else (),
    )


def _nearest() -> nn.Module:
    return carriers.Segmenter("nearest")


OPENED = (
    _host("open super-resolution", carriers.SuperResolution, 1, 3, 12, 10, folds=2),
    _host("open segmenter", carriers.Segmenter, refused=RESIZED, quick=("coreml",)),
    _host(
        "open segmenter, nearest", lambda: carriers.Segmenter("nearest"), refused=RESIZED, quick=()
    ),
    _host("open tokens", carriers.Tokens, folds=2),
    _host("open detector", carriers.Detector, folds=3, refused=RESIZED, quick=()),
    _host("open sizes computed with", Scaled, 1, 3, 8, 6, refused=RESIZED, quick=()),
    Host(
        "open batch, height and width",
        image_of(carriers.Segmenter, 1, 3, 32, 48),
        open_sizes={"image": {0: "batch", 2: "height", 3: "width"}},
        lowering="running-mean",
        refused=RESIZED,
        quick=(),
    ),
    *(_in_form(form, False) for form in ("depthwise", "running-mean")),
    _in_form("flat", True),
)
