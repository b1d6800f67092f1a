"""Image preprocessing: the options of an export, and the description that a file holds.

Every file whose network takes an image holds one JSON object under the key ``slide_deploy.image``::

    {"input": "image", "size": [224, 224], "layout": "nhwc", "order": "rgb", "type": "uint8",
     "mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225], "inside": true,
     "output": "probabilities", "probabilities": true, "labels": ["tench", "goldfish"]}

``size`` is height and width, null for an open one. ``mean`` and ``deviation`` are those of pixels
divided by 255. If ``inside`` is true, the file normalises the image itself and takes pixels from 0
to 255; otherwise the caller must normalise. ``labels`` may be empty.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from slide_deploy.errors import InputError
from slide_deploy.terminal.printable import as_text

if TYPE_CHECKING:
    import numpy as np

IMAGE_KEY = "slide_deploy.image"
# Of ImageNet's pixels divided by 255, which most published networks are trained with.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
LAYOUTS = ("nchw", "nhwc")
ORDERS = ("rgb", "bgr")
WHITE = 255
# A quarter of the step between two pixel values, 1/255. No data vary so little.
_LEAST_DEVIATION = 1e-3
# Factor on the pixels of a format's image type before the network. A power of two is exact for
# pixels in float16. Without it, weights would be divided by 255, which float16 represents poorly.
PICTURE_SCALE = 1 / 256
# Characters: 20,000 names of 500 letters. Exporters write less.
_LONGEST_TEXT = 10_000_000


@dataclass(frozen=True)
class Preprocessing:
    """The normalisation (pixel / 255 - mean) / deviation of each channel, and the layout of pixels.

    Attributes:
        mean: mean of each channel, in the order of training; None for that of the checkpoint, or
            else of ImageNet.
        deviation: standard deviation of each channel, likewise.
        embedded: whether the file normalises, and takes pixels from 0 to 255 as uint8.
        layout: layout of the pixels that the file takes, "nchw" or "nhwc".
        order: order of their channels: "rgb", as in training, or "bgr".
    """

    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    embedded: bool = False
    layout: str = "nchw"
    order: str = "rgb"

    def __post_init__(self) -> None:
        for option, given in (("--mean", self.mean), ("--deviation", self.deviation)):
            if given is not None and not all(map(math.isfinite, given)):
                raise InputError(f"{option} {_listed(given)} is not finite: give numbers.")
        if self.mean is not None and not all(-1 <= each <= 1 for each in self.mean):
            raise InputError(
                f"--mean {_listed(self.mean)} is not that of pixels from 0 to 1: divide it by 255."
            )
        if self.deviation is not None and not all(
            _LEAST_DEVIATION <= each <= 2 for each in self.deviation
        ):
            raise InputError(
                f"--deviation {_listed(self.deviation)} is not that of pixels from 0 to 1: give "
                f"numbers of at least {_LEAST_DEVIATION}, divided by 255."
            )
        for option, text, known in (
            ("--input-layout", self.layout, LAYOUTS),
            ("--channel-order", self.order, ORDERS),
        ):
            if text not in known:
                raise InputError(f"{option} {text} is unknown: give {' or '.join(known)}.")
            if text != known[0] and not self.embedded:
                raise InputError(
                    f"{option} {text} applies to files that take pixels: add --embed-preprocessing."
                )

    @property
    def is_customised(self) -> bool:
        """Whether any option differs from its default."""
        return self != AS_TRAINED

    def completed(
        self, channels: int, stated: "tuple[tuple[float, ...], tuple[float, ...]] | None"
    ) -> "Preprocessing":
        """The same options with mean and deviation filled in.

        Args:
            channels: number of channels of the images.
            stated: mean and deviation that the checkpoint states; None if it states none.

        Raises:
            InputError: the numbers, or the channel order, are for another number of channels.
        """
        known = stated or (MEAN, DEVIATION)
        mean = known[0] if self.mean is None else self.mean
        deviation = known[1] if self.deviation is None else self.deviation
        for option, values in (("--mean", mean), ("--deviation", deviation)):
            if len(values) != channels:
                raise InputError(
                    f"The network takes images of {channels} channels, and {option} has "
                    f"{len(values)} numbers: give {option} with {channels}."
                )
        if self.order == "bgr" and channels != 3:
            raise InputError(
                f"The network takes images of {channels} channels, and --channel-order needs "
                f"three: leave it out."
            )
        return replace(self, mean=mean, deviation=deviation)


AS_TRAINED = Preprocessing()
"""The default: files take images as in training."""


@dataclass(frozen=True)
class ImageDescription:
    """A file's description of its image and classes, as in the module docstring.

    Attributes:
        input: name of the input that takes the image.
        size: height and width; None for an open one.
        layout: "nchw" or "nhwc".
        order: "rgb" or "bgr".
        type: numpy's name of the image's type.
        mean: mean of each channel, in the order of training.
        deviation: standard deviation of each channel, likewise.
        inside: whether the file applies both, to pixels from 0 to 255.
        output: name of the output with the classes; empty if there is none.
        probabilities: whether a softmax computes that output.
        labels: class names in the order of the classes; may be empty.
    """

    input: str
    size: tuple[int | None, int | None]
    layout: str
    order: str
    type: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    inside: bool
    output: str = ""
    probabilities: bool = False
    labels: tuple[str, ...] = ()

    def text(self) -> str:
        """The description as JSON text."""
        return json.dumps(asdict(self))

    def given(self, images: "np.ndarray") -> "np.ndarray":
        """Arrange RGB images (batch, channels, height, width) as the file takes them."""
        import numpy as np  # late, because shell completion imports this module

        ordered = images[:, ::-1] if self.order == "bgr" else images
        arranged = ordered.transpose(0, 2, 3, 1) if self.layout == "nhwc" else ordered
        return np.ascontiguousarray(arranged)

    def channels_first(self, sizes: Sequence[Any]) -> tuple[Any, ...]:
        """A shape in the file's layout as (batch, channels, height, width)."""
        if self.layout != "nhwc" or len(sizes) != 4:
            return tuple(sizes)
        return (sizes[0], sizes[3], sizes[1], sizes[2])


def read_description(metadata: Mapping[str, str]) -> ImageDescription | None:
    """Read a file's description of its image; None if it has none.

    Raises:
        InputError: the exporters do not write such a description.
    """
    text = metadata.get(IMAGE_KEY)
    if text is None:
        return None
    from pydantic import TypeAdapter  # late, because shell completion imports this module

    try:
        if len(text) > _LONGEST_TEXT:
            raise ValueError
        # Lone surrogates in labels become question marks, as they cannot be printed.
        plain = as_text(json.dumps(json.loads(text), ensure_ascii=False))
        found = TypeAdapter(ImageDescription).validate_json(plain, strict=True)
        known = found.layout in LAYOUTS and found.order in ORDERS
        if not known or not len(found.mean) == len(found.deviation) > 0:
            raise ValueError
        if not all(map(math.isfinite, (*found.mean, *found.deviation))):
            raise ValueError
        if min(found.deviation) <= 0 or any(side is not None and side < 1 for side in found.size):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The file's {IMAGE_KEY} is not what slide-deploy writes: export the file again."
        ) from error
    return found


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def parse_channels(text: str | None, option: str) -> tuple[float, ...] | None:
    """Parse one number for each channel, such as "0.485,0.456,0.406"; None for None.

    Raises:
        InputError: the text is not a list of numbers.
    """
    if text is None:
        return None
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text} is not a list of numbers: give one for each channel, such as "
            f"{option} {_listed(MEAN)}."
        ) from error
