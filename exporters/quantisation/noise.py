"""Random noise as a calibration set, for networks with random weights and without data.

Latency does not depend on the values, and the quantisation noise of several files of one network
can be compared. Noise does not show how much accuracy a trained network loses in int8.
"""

from pathlib import Path

import numpy as np

from exporters.quantisation.examples import Calibration, Examples, Feeds
from slide_deploy.deployable.record import Deployable
from slide_deploy.files.writing import draft_of

# One attention: noise has the same range everywhere, so a few examples are enough.
_MEASURED, _HELD_BACK = 8, 4
# Examples in an archive for a whole network, of which a quarter is held back.
EXAMPLES = 40
SEED = 0


def noise(deployable: Deployable, seed: int = 0) -> Calibration:
    """Return noise as the calibration set of a single layer, which is raced on its own."""

    def make(place: int) -> Feeds:
        random = np.random.default_rng((seed, place))
        return {
            each.name: random.standard_normal(each.example.shape).astype(each.example.dtype)
            for each in deployable.inputs
        }

    examples = Examples(_MEASURED + _HELD_BACK, make)
    return Calibration("noise", "", seed, examples[_HELD_BACK:], examples[:_HELD_BACK])


def write_noise(deployable: Deployable, path: Path) -> Path:
    """Write an archive for ``--calibration`` with normal noise, which is always the same.

    Args:
        deployable: the network. The archive has ``EXAMPLES`` examples of each floating-point input;
            integer inputs repeat their example.
        path: path of the archive; ends in ``.npz``.

    Returns:
        The path.
    """
    random = np.random.default_rng(SEED)
    arrays = {}
    for each in deployable.inputs:
        rows, *sizes = each.example.shape
        shape = (EXAMPLES * rows, *sizes)
        if each.example.dtype.kind == "f":
            arrays[each.name] = random.standard_normal(shape).astype(each.example.dtype)
        else:
            arrays[each.name] = np.concatenate([each.example] * EXAMPLES)
    with draft_of(path) as draft, draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes no dict
    return path
