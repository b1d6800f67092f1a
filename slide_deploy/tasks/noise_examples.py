"""Noise as a calibration set, where a network has random weights and no data is at hand.

Speed does not depend on the values, and the noise of quantisation can be compared between files of
one network. What int8 costs a trained network, noise does not say.
"""

from pathlib import Path

import numpy as np

from slide_deploy.deployable.record import Deployable
from slide_deploy.files.writing import draft_of

# A quarter of them is held back.
EXAMPLES = 40
SEED = 0


def write_noise(deployable: Deployable, path: Path) -> Path:
    """Write an archive that ``--calibration`` takes: normal noise, the same every time.

    Args:
        deployable: the network, whose inputs it has; inputs of whole numbers repeat their example.
        path: where to; ends in ``.npz``.

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
