"""The most probable classes of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.preprocessing import load_image
from slide_deploy.runtimes import Session


@dataclass(frozen=True)
class Guess:
    """One class of one picture.

    Args:
        image: the picture's file.
        index: of the class.
        name: of the class, its index where it has none.
        probability: softmax of its logit.
    """

    image: str
    index: int
    name: str
    probability: float


def predict(session: Session, image: Path, names: Sequence[str], top: int) -> list[Guess]:
    """Name the most probable classes.

    Args:
        session: a file that takes three channels and a fixed size.
        image: a picture.
        names: of the classes, in the order of the logits; may be shorter.
        top: how many to give, the most probable first.

    Raises:
        InputError: if the file takes other images, or the picture cannot be read.
    """
    if len(session.outputs) > 1:
        raise InputError(
            f"The file answers {', '.join(session.outputs)}: predict needs logits, so export the "
            f"model without --features."
        )
    channels, height, width = session.input_shape[1:]
    if channels != 3 or height is None or width is None:
        raise InputError(
            f"The file takes images of {channels}x{height}x{width}: predict needs three channels "
            f"and a fixed size."
        )
    shares = probabilities(session(load_image(image, (height, width))))[0]
    return [
        Guess(
            image=str(image),
            index=int(index),
            name=names[index] if index < len(names) else str(index),
            probability=float(shares[index]),
        )
        for index in shares.argsort()[::-1][:top]
    ]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, in float64; the largest logit is taken off first."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
