"""A network whose image is given as pixels, and one whose answer is probabilities."""

from dataclasses import replace

import numpy as np

from slide_deploy.deployable.around import Around, Pixels
from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.record import Deployable, run
from slide_deploy.errors import InputError
from slide_deploy.images.description import PICTURE_SCALE, WHITE, Preprocessing

PROBABILITIES = "probabilities"
_RANK = 4
# Where the axes of (batch, channels, height, width) stand in (batch, height, width, channels).
_CHANNELS_LAST = {0: 0, 1: 3, 2: 1, 3: 2}


def image_place(deployable: Deployable) -> int | None:
    """Which input is an image (batch, channels, height, width) of floats; None if not just one."""
    found = [
        place
        for place, each in enumerate(deployable.inputs)
        if each.example.ndim == _RANK and each.example.dtype.kind == "f"
    ]
    return found[0] if len(found) == 1 else None


def takes_pixels(
    deployable: Deployable, preprocessing: Preprocessing, *, as_picture: bool = False
) -> Deployable:
    """A network that is given pixels.

    Args:
        deployable: takes one image; left as it is.
        preprocessing: how pixels become what it takes, with numbers for each channel.
        as_picture: whether the format hands over a picture of the system: pixels times
            ``PICTURE_SCALE`` as floats, in the order and layout of training.

    Raises:
        InputError: if it takes no image, or several.
    """
    place = image_place(deployable)
    if place is None:
        taken = ", ".join(each.name for each in deployable.inputs)
        raise InputError(
            f"{deployable.origin.name} takes {taken}: preprocessing is embedded for one image of "
            f"floats (batch, channels, height, width), so leave out --embed-preprocessing."
        )
    if as_picture:
        preprocessing = replace(preprocessing, layout="nchw", order="rgb")
    ours = deployable.inputs[place]
    example = np.zeros(ours.example.shape, np.float32 if as_picture else np.uint8)
    open_sizes = dict(ours.open)
    if preprocessing.layout == "nhwc":
        example = example.transpose(0, 2, 3, 1)
        open_sizes = {_CHANNELS_LAST[axis]: name for axis, name in ours.open.items()}
    example = np.ascontiguousarray(example)
    image = Input(ours.name, example, open_sizes, pixels=True, layout=preprocessing.layout)
    inputs = tuple(image if at == place else each for at, each in enumerate(deployable.inputs))
    pixels = Pixels(preprocessing, WHITE * PICTURE_SCALE if as_picture else WHITE)
    around = replace(deployable.around or Around(), image=place, pixels=pixels)
    return replace(deployable, inputs=inputs, around=around)


def gives_probabilities(deployable: Deployable) -> Deployable:
    """A network whose logits go through a softmax, under the name "probabilities".

    Raises:
        InputError: if it answers no logits, or it is not clear which.
    """
    place = classes_place(deployable)
    if place is None:
        answers = ", ".join(deployable.outputs)
        raise InputError(
            f"{deployable.origin.name} answers {answers}: --softmax is for one row of logits "
            f"(batch, classes)."
        )
    outputs = list(deployable.outputs)
    if PROBABILITIES in outputs:
        raise InputError(
            f"{deployable.origin.name} answers {PROBABILITIES} already: leave out --softmax."
        )
    outputs[place] = PROBABILITIES
    around = replace(deployable.around or Around(), classes=place)
    return replace(deployable, outputs=tuple(outputs), around=around)


def classes_place(deployable: Deployable) -> int | None:
    """Which output is a row (batch, classes) of floats; None if not just one."""
    found = [place for place, width in enumerate(_widths(deployable)) if width]
    return found[0] if len(found) == 1 else None


def class_count(deployable: Deployable) -> int:
    """How many classes the network tells apart; 0 if it answers no row of classes, or several."""
    place = classes_place(deployable)
    return 0 if place is None else _widths(deployable)[place]


def _widths(deployable: Deployable) -> list[int]:
    """The numbers that each output has for an image; 0 where that is no row of floats."""
    answers = run(deployable.network(), [each.example for each in deployable.inputs])
    return [
        answer.shape[1] if answer.ndim == 2 and answer.is_floating_point() else 0
        for answer in answers
    ]
