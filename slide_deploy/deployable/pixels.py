"""Embed preprocessing and a softmax into a network, and find its image and its logits."""

from dataclasses import replace

import numpy as np

from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.processing import PixelNormalisation, Processing
from slide_deploy.deployable.record import Deployable, run
from slide_deploy.errors import InputError
from slide_deploy.images.description import PICTURE_SCALE, WHITE, Preprocessing

PROBABILITIES = "probabilities"
_RANK = 4
# Axes of (batch, channels, height, width) to axes of (batch, height, width, channels).
_CHANNELS_LAST = {0: 0, 1: 3, 2: 1, 3: 2}


def image_place(deployable: Deployable) -> int | None:
    """Return the index of the only input (batch, channels, height, width) of floats, or None."""
    found = [
        place
        for place, each in enumerate(deployable.inputs)
        if each.example.ndim == _RANK and each.example.dtype.kind == "f"
    ]
    return found[0] if len(found) == 1 else None


def with_preprocessing(
    deployable: Deployable, preprocessing: Preprocessing, *, as_picture: bool = False
) -> Deployable:
    """Return a network that takes pixels and preprocesses them itself.

    Args:
        deployable: network with one image among its inputs. It is not changed.
        preprocessing: preprocessing with a mean and deviation of every channel.
        as_picture: whether the format converts a picture of the operating system itself. The
            network then gets pixels times ``PICTURE_SCALE`` as floats, in the channel order and
            layout of training.

    Raises:
        InputError: if the network takes no image, or several.
    """
    place = image_place(deployable)
    if place is None:
        taken = ", ".join(each.name for each in deployable.inputs)
        raise InputError(
            f"{deployable.origin.name} takes {taken}, but preprocessing can be embedded only for "
            f"one image of floats (batch, channels, height, width): leave out "
            f"--embed-preprocessing."
        )
    if as_picture:
        preprocessing = replace(preprocessing, layout="nchw", order="rgb")
    old = deployable.inputs[place]
    example = np.zeros(old.example.shape, np.float32 if as_picture else np.uint8)
    open_sizes = dict(old.open)
    if preprocessing.layout == "nhwc":
        example = example.transpose(0, 2, 3, 1)
        open_sizes = {_CHANNELS_LAST[axis]: name for axis, name in old.open.items()}
    example = np.ascontiguousarray(example)
    image = Input(old.name, example, open_sizes, pixels=True, layout=preprocessing.layout)
    inputs = tuple(image if at == place else each for at, each in enumerate(deployable.inputs))
    pixels = PixelNormalisation(preprocessing, WHITE * PICTURE_SCALE if as_picture else WHITE)
    processing = replace(deployable.processing or Processing(), image=place, pixels=pixels)
    return replace(deployable, inputs=inputs, processing=processing)


def with_softmax(deployable: Deployable) -> Deployable:
    """Return a network whose logits go through a softmax, with the name "probabilities".

    Raises:
        InputError: if the network outputs no logits (batch, classes), or several such tensors.
    """
    place = classes_place(deployable)
    if place is None:
        outputs = ", ".join(deployable.outputs)
        raise InputError(
            f"{deployable.origin.name} outputs {outputs}, but --softmax requires exactly one "
            f"output of logits (batch, classes): leave out --softmax."
        )
    names = list(deployable.outputs)
    if PROBABILITIES in names:
        raise InputError(
            f"{deployable.origin.name} outputs {PROBABILITIES} already: leave out --softmax."
        )
    names[place] = PROBABILITIES
    processing = replace(deployable.processing or Processing(), classes=place)
    return replace(deployable, outputs=tuple(names), processing=processing)


def classes_place(deployable: Deployable) -> int | None:
    """Return the index of the only floating-point output (batch, classes), or None."""
    found = [place for place, width in enumerate(_widths(deployable)) if width]
    return found[0] if len(found) == 1 else None


def class_count(deployable: Deployable) -> int:
    """Return the network's number of classes; 0 without exactly one output (batch, classes)."""
    place = classes_place(deployable)
    return 0 if place is None else _widths(deployable)[place]


def _widths(deployable: Deployable) -> list[int]:
    """Return the width of each floating-point output of rank 2; 0 for any other output."""
    outputs = run(deployable.network(), [each.example for each in deployable.inputs])
    return [
        output.shape[1] if output.ndim == 2 and output.is_floating_point() else 0
        for output in outputs
    ]
