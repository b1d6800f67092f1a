"""The most probable classes of pictures."""

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

# What exporters call the answers of a classifier.
_CLASSES = re.compile("logit|prob|softmax|score", re.IGNORECASE)
_FEATURES = re.compile(r"stage\d+")
# How far from 1 shares may add up after rounding, by the digits of their type.
_ROUNDING = {2: 5e-3, 4: 1e-3, 8: 1e-3}


@dataclass(frozen=True)
class Guess:
    """One class of one picture.

    Args:
        image: the picture's file.
        index: of the class.
        name: of the class, its index where it has none.
        probability: its share, after a softmax where the file has none.
        output: of the file that was read.
        prepared: what was done to the picture.
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
    """Name the most probable classes.

    Args:
        file: one that takes three channels.
        images: pictures.
        names: of the classes, in the order of the logits; may be shorter. None takes those that
            the file holds.
        top: how many to give of each picture, the most probable first.
        size: height and width where the file leaves them open.
        output: of the file to read; the one that holds classes if left out.

    Raises:
        InputError: if the file takes other images or answers no classes, or a picture cannot be
            read.
    """
    session, taken = file.session, file.image
    if all(map(_FEATURES.fullmatch, session.outputs)):
        raise InputError(
            f"The file answers {', '.join(session.outputs)}: predict needs logits, so export the "
            f"model without --features."
        )
    described = read_description(session.metadata)
    known = tuple(names) if names is not None else () if described is None else described.labels
    if output is None and described is not None and described.output in session.outputs:
        output = described.output
    wanted = image_input(file, size)
    rows = []
    for image in images:
        answers = file.outputs(wanted.load(image))
        output = choose_output(answers, taken.shape[0] or 1, output)
        row = answers[output][0].ravel()
        if np.isnan(row).any() or np.isposinf(row).any():
            raise InputError(
                f"The file answers {image} with numbers that are not finite on {session.runtime}: "
                f"export it in float32."
            )
        rows.append(row)
    whole = np.stack(rows)
    # All pictures decide: a single row of logits may add up to 1 by chance.
    if described is not None and described.output == output:
        are_shares = described.probabilities
        if are_shares and not are_probabilities(whole):
            raise InputError(
                f"The file says that {output} is probabilities, and they are no shares that add up "
                f"to 1: export the file again."
            )
    else:
        are_shares = are_probabilities(whole)
    shares = whole.astype(np.float64) if are_shares else probabilities(whole)
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


def choose_output(answers: Mapping[str, np.ndarray], batch: int, wanted: str | None) -> str:
    """The output that holds a number for each class.

    Args:
        answers: every output by its name.
        batch: images that were given.
        wanted: the output that the user asks for.

    Returns:
        That one, or the only one that can be meant, or the first that is named as classes are.

    Raises:
        InputError: if there is none, or several could be meant.
    """
    listed = ", ".join(f"{name} ({written(answer.shape)})" for name, answer in answers.items())
    fitting = {name: width for name, answer in answers.items() if (width := _row(answer, batch))}
    if wanted is not None:
        if wanted not in answers:
            raise InputError(f"The file has no output {wanted}: it answers {listed}.")
        if wanted not in fitting:
            raise InputError(f"--output {wanted} is no row of classes: the file answers {listed}.")
        return wanted
    if not fitting:
        raise InputError(f"The file answers {listed}: predict needs a row of logits.")
    several = [name for name, width in fitting.items() if width > 1] or list(fitting)
    named = [name for name in several if _CLASSES.search(name)]
    if len(several) > 1 and not named:
        raise InputError(
            f"The file answers {listed}: say with --output which of {', '.join(several)} are the "
            f"classes."
        )
    return (named or several)[0]


def _row(answer: np.ndarray, batch: int) -> int:
    """How many numbers an answer has for each image; 0 if they are not one row of shares."""
    shape = answer.shape
    flat = len(shape) >= 2 and shape[0] == batch and all(size == 1 for size in shape[2:])
    return shape[1] if flat and answer.dtype.kind == "f" else 0


def are_probabilities(rows: np.ndarray) -> bool:
    """Whether rows (n, classes) have been through a softmax: shares that add up to 1."""
    slack = _ROUNDING[rows.dtype.itemsize]
    shares = rows.astype(np.float64)
    inside = shares.min() >= -slack and shares.max() <= 1 + slack
    return bool(inside and np.abs(shares.sum(axis=-1) - 1).max() <= slack)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64; the largest logit is taken off first."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
