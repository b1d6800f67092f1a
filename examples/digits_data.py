"""scikit-learn's handwritten digits, preprocessed for a vision model.

1797 greyscale digits of 8x8 pixels, written by 43 people. Each is enlarged bilinearly, repeated
into three channels, and normalised like ImageNet photographs:

    image[c] = (pixel / 16 - mean[c]) / std[c]

Training and evaluation share this module, so that split and preprocessing are equal.
"""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]  # (image, channel, row, column)
Labels = NDArray[np.int64]

IMAGE_SIZE = 32
NUM_CLASSES = 10

_LARGEST_PIXEL = 16
# Means and standard deviations of red, green and blue in ImageNet, which most vision models use.
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32).reshape(3, 1, 1)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1)

_HELD_OUT_SHARE = 0.25
_SPLIT_SEED = 0  # a fixed seed, so that the split does not depend on the training's seed


def training() -> tuple[Images, Labels]:
    """Return the training images, (1347, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    pixels, labels = _split()[0]
    return _prepare(pixels), labels


def held_out() -> tuple[Images, Labels]:
    """Return the held-out images, (450, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    pixels, labels = _split()[1]
    return _prepare(pixels), labels


def _split() -> tuple[tuple[NDArray[np.float64], Labels], tuple[NDArray[np.float64], Labels]]:
    """Return pixels (image, row, column) and labels of both parts, stratified by digit."""
    # Imported here, so that the constants of this module do not need scikit-learn.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    seen, unseen, seen_labels, unseen_labels = train_test_split(
        digits.images,
        labels,
        test_size=_HELD_OUT_SHARE,
        stratify=labels,
        random_state=_SPLIT_SEED,
    )
    return (seen, seen_labels), (unseen, unseen_labels)


def _prepare(pixels: NDArray[np.float64]) -> Images:
    """Map pixels 0 to 16, (image, 8, 8), to images, (image, 3, IMAGE_SIZE, IMAGE_SIZE)."""
    enlarge = _bilinear(pixels.shape[-1], IMAGE_SIZE)
    grey = (enlarge @ (pixels / _LARGEST_PIXEL) @ enlarge.T).astype(np.float32)
    images: Images = (grey[:, None] - _MEAN) / _STD
    return np.ascontiguousarray(images)


def _bilinear(small: int, large: int) -> NDArray[np.float64]:
    """Return the matrix (large, small) of bilinear resampling with aligned pixel centres."""
    centres = (np.arange(large) + 0.5) * small / large - 0.5
    columns = [np.interp(centres, np.arange(small), unit) for unit in np.eye(small)]
    return np.stack(columns, axis=1)
