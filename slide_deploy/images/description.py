"""How images become what a network takes: what exports are asked for, and what files say of it.

Every file whose network takes an image holds one JSON object under the key ``slide_deploy.image``::

    {"input": "image", "size": [224, 224], "layout": "nhwc", "order": "rgb", "type": "uint8",
     "mean": [0.485, 0.456, 0.406], "deviation": [0.229, 0.224, 0.225], "inside": true,
     "output": "probabilities", "probabilities": true, "labels": ["tench", "goldfish"]}

``size`` is height and width, null where the file leaves one open. ``mean`` and ``deviation`` are
those of pixels divided by 255. Where ``inside`` is true the file does that arithmetic itself and
takes the pixels from 0 to 255; else whoever calls it has to. ``labels`` may be empty.
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
# Of the pixels of ImageNet divided by 255: what most published networks are trained with.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
LAYOUTS = ("nchw", "nhwc")
ORDERS = ("rgb", "bgr")
WHITE = 255
# A quarter of the step from one pixel value to the next, divided by 255: no data vary so little.
_LEAST_DEVIATION = 1e-3
# What a format multiplies the pixels of a picture by before the network sees them. A power of two
# loses no digit of a pixel in float16, and without it weights would be divided by 255, below what
# float16 holds well.
PICTURE_SCALE = 1 / 256
# A list of 20,000 names of 500 letters; an exporter writes less.
_LONGEST_TEXT = 10_000_000


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become what a network takes: (pixel / 255 - mean) / deviation, channel by channel.

    Attributes:
        mean: of each channel, in the order of training; None for that of the checkpoint or of
            ImageNet.
        deviation: the same.
        embedded: whether the file does it, and takes pixels from 0 to 255 as uint8.
        layout: of the pixels that the file takes: "nchw" or "nhwc".
        order: of their channels: "rgb", which is that of training, or "bgr".
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
                    f"{option} says which pixels a file takes: give --embed-preprocessing too."
                )

    @property
    def is_asked_for(self) -> bool:
        """Whether anything was said of images."""
        return self != AS_TRAINED

    def completed(
        self, channels: int, stated: "tuple[tuple[float, ...], tuple[float, ...]] | None"
    ) -> "Preprocessing":
        """The same with numbers for each channel.

        Args:
            channels: of the images.
            stated: mean and deviation that the checkpoint states; None where it does not.

        Raises:
            InputError: if there are numbers for another count of channels, or none.
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
                f"The network takes images of {channels} channels, which have no order: leave out "
                f"--channel-order."
            )
        return replace(self, mean=mean, deviation=deviation)


AS_TRAINED = Preprocessing()
"""Nothing was asked for: files take what the network was trained on."""


@dataclass(frozen=True)
class ImageDescription:
    """What a file says of its image and of its classes; see above.

    Attributes:
        input: name of the input that takes the image.
        size: height and width; None for one that is open.
        layout: "nchw" or "nhwc".
        order: "rgb" or "bgr".
        type: of the image's numbers, as numpy spells it.
        mean: of each channel, in the order of training.
        deviation: the same.
        inside: whether the file applies both, to pixels from 0 to 255.
        output: name of the output that answers classes; empty if there is none.
        probabilities: whether that output has been through a softmax.
        labels: name of each class, in their order; may be empty.
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
        """The JSON object that a file holds."""
        return json.dumps(asdict(self))

    def given(self, images: "np.ndarray") -> "np.ndarray":
        """Images (batch, channels, height, width) of RGB as the file takes them."""
        import numpy as np  # the shell, which asks for names of layouts, has no time for it

        ordered = images[:, ::-1] if self.order == "bgr" else images
        arranged = ordered.transpose(0, 2, 3, 1) if self.layout == "nhwc" else ordered
        return np.ascontiguousarray(arranged)

    def channels_first(self, sizes: Sequence[Any]) -> tuple[Any, ...]:
        """A shape of the file's image as (batch, channels, height, width)."""
        if self.layout != "nhwc" or len(sizes) != 4:
            return tuple(sizes)
        return (sizes[0], sizes[3], sizes[1], sizes[2])


def read_description(metadata: Mapping[str, str]) -> ImageDescription | None:
    """What a file says of its image; None if it says nothing.

    Args:
        metadata: of the file, by key.

    Raises:
        InputError: if it says what no exporter writes.
    """
    text = metadata.get(IMAGE_KEY)
    if text is None:
        return None
    try:
        if len(text) > _LONGEST_TEXT:
            raise ValueError
        return _described(json.loads(text))
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f"The file's {IMAGE_KEY} is not what slide-deploy writes: export the file again."
        ) from error


def _described(content: Mapping[str, Any]) -> ImageDescription:
    """Plain data as a description; any error of Python's where it is none."""
    mean, deviation = (_numbers(content[key]) for key in ("mean", "deviation"))
    size = tuple(content["size"])
    labels = tuple(content.get("labels", ()))
    known = (content["layout"] in LAYOUTS, content["order"] in ORDERS)
    flags = [content["inside"], content.get("probabilities", False)]
    texts = [content["input"], content["type"], content.get("output", ""), *labels]
    if not all(
        (
            *known,
            isinstance(content.get("labels", []), list),
            len(mean) == len(deviation) > 0,
            all(each > 0 for each in deviation),
            len(size) == 2,
            all(each is None or (type(each) is int and each > 0) for each in size),
            all(isinstance(each, str) for each in texts),
            all(isinstance(each, bool) for each in flags),
        )
    ):
        raise ValueError
    return ImageDescription(
        input=content["input"],
        size=(size[0], size[1]),
        layout=content["layout"],
        order=content["order"],
        type=content["type"],
        mean=mean,
        deviation=deviation,
        inside=flags[0],
        output=content.get("output", ""),
        probabilities=flags[1],
        labels=tuple(map(as_text, labels)),
    )


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = tuple(map(float, values))
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)


def parse_channels(text: str | None, option: str) -> tuple[float, ...] | None:
    """A number for each channel, as "0.485,0.456,0.406"; None where nothing is given.

    Raises:
        InputError: if the text is something else.
    """
    if text is None:
        return None
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{option} {text} is no list of numbers: give one for each channel, as in "
            f"{option} {_listed(MEAN)}."
        ) from error
