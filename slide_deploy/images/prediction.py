"""Predict the most probable classes of images."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slide_deploy.backends import ImageSession
from slide_deploy.errors import InputError
from slide_deploy.images.description import read_description
from slide_deploy.images.preprocessing import image_input
from slide_deploy.parsing import written

# Names that exporters give to the outputs of a classifier.
_CLASSES = re.compile("logit|prob|softmax|score", re.IGNORECASE)
_FEATURES = re.compile(r"stage\d+")
# How far the sum of probabilities may be from 1 after rounding, by the bytes of their type.
_ROUNDING = {2: 5e-3, 4: 1e-3, 8: 1e-3}


@dataclass(frozen=True)
class Guess:
    """One predicted class of one image.

    Attributes:
        image: the image file.
        index: index of the class.
        name: name of the class; its index if it has none.
        probability: its probability, computed by a softmax here if the file has none.
        output: the output of the file that was read.
        prepared: how the image was preprocessed, in words.
    """

    image: str
    index: int
    name: str
    probability: float
    output: str
    prepared: str


def predict(
    file: ImageSession,
    images: Sequence[Path],
    names: Sequence[str] | None,
    top: int,
    size: tuple[int, int] | None = None,
    output: str | None = None,
) -> list[Guess]:
    """Predict the most probable classes.

    Args:
        file: an opened file whose input has three channels.
        images: image files.
        names: class names in the order of the logits; may be shorter. None uses those that the file
            holds.
        top: number of classes for each image, the most probable first.
        size: height and width, if the file leaves them open.
        output: the output to read; if left out, the one that holds classes.

    Raises:
        InputError: the file takes other images or has no output of classes, or an image cannot be
            read.
    """
    session, taken = file.session, file.image
    if all(map(_FEATURES.fullmatch, session.outputs)):
        raise InputError(
            f"The file outputs {', '.join(session.outputs)}: predict needs logits, so export the "
            f"model without --features."
        )
    described = read_description(session.metadata)
    known = tuple(names) if names is not None else () if described is None else described.labels
    if output is None and described is not None and described.output in session.outputs:
        output = described.output
    wanted = image_input(file, size)
    rows = []
    for image in images:
        outputs = file.outputs(wanted.load(image))
        output = choose_output(outputs, taken.shape[0] or 1, output)
        row = outputs[output][0].ravel()
        if np.isnan(row).any() or np.isposinf(row).any():
            raise InputError(
                f"The file outputs numbers that are not finite for {image} on {session.runtime}: "
                f"export it in float32."
            )
        rows.append(row)
    whole = np.stack(rows)
    # Uses all images, because a single row of logits may add up to 1 by chance.
    if described is not None and described.output == output:
        has_softmax = described.probabilities
        if has_softmax and not are_probabilities(whole):
            raise InputError(
                f"The file describes {output} as probabilities, and they do not add up to 1: "
                f"export the file again."
            )
    else:
        has_softmax = are_probabilities(whole)
    shares = whole.astype(np.float64) if has_softmax else probabilities(whole)
    return [
        Guess(
            image=str(image),
            index=int(index),
            name=known[index] if index < len(known) else str(index),
            probability=float(row[index]),
            output=str(output),
            prepared=str(wanted),
        )
        for image, row in zip(images, shares, strict=True)
        for index in row.argsort()[::-1][:top]
    ]


def choose_output(outputs: Mapping[str, np.ndarray], batch: int, wanted: str | None) -> str:
    """Choose the output that holds a number for each class.

    Args:
        outputs: every output by its name.
        batch: number of images in the batch.
        wanted: the output that the user names, if any.

    Returns:
        ``wanted``, or the only output that fits, or the first whose name is usual for classes.

    Raises:
        InputError: no output fits, or several do and none has a usual name.
    """
    listed = ", ".join(f"{name} ({written(output.shape)})" for name, output in outputs.items())
    fitting = {name: width for name, output in outputs.items() if (width := _row(output, batch))}
    if wanted is not None:
        if wanted not in outputs:
            raise InputError(f"The file has no output {wanted}: it outputs {listed}.")
        if wanted not in fitting:
            raise InputError(f"--output {wanted} is not a row of classes: it outputs {listed}.")
        return wanted
    if not fitting:
        raise InputError(f"The file outputs {listed}: predict needs a row of logits.")
    several = [name for name, width in fitting.items() if width > 1] or list(fitting)
    named = [name for name in several if _CLASSES.search(name)]
    if len(several) > 1 and not named:
        raise InputError(
            f"The file outputs {listed}: choose one of {', '.join(several)} with --output."
        )
    return (named or several)[0]


def _row(output: np.ndarray, batch: int) -> int:
    """How many numbers an output has for each image; 0 if it is not one row of floats."""
    shape = output.shape
    flat = len(shape) >= 2 and shape[0] == batch and all(size == 1 for size in shape[2:])
    return shape[1] if flat and output.dtype.kind == "f" else 0


def are_probabilities(rows: np.ndarray) -> bool:
    """Whether rows (n, classes) are probabilities: from 0 to 1, with a sum of 1."""
    slack = _ROUNDING[rows.dtype.itemsize]
    numbers = rows.astype(np.float64)
    inside = numbers.min() >= -slack and numbers.max() <= 1 + slack
    return bool(inside and np.abs(numbers.sum(axis=-1) - 1).max() <= slack)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis in float64, after subtracting the largest logit."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
