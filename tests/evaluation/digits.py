"""The example's digits as picture files, and the trained model as a file."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from slide_deploy.hosts import load_checkpoint
from tests.shared import once
from tests.support import exported, exported_path

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "examples" / "digits.pth"


def digit_pictures(count: int = 120) -> Path:
    """A folder for each digit: the enlarged digit in the middle of a page as large as its crop."""

    def write(folder: Path) -> Path:
        digits = load_digits()
        for index in range(count):
            place = folder / "digits" / str(digits.target[index])
            place.mkdir(parents=True, exist_ok=True)
            grey = np.rint(digits.images[index] / 16 * 255).astype(np.uint8)
            page = Image.new("L", (36, 36))
            page.paste(Image.fromarray(grey).resize((32, 32), Image.Resampling.BILINEAR), (2, 2))
            page.save(place / f"{index:04}.png")
        return folder / "digits"

    return once(("digit pictures", count), write)


def digits_in(format: str, dynamic_batch: bool = False) -> Path:
    """The trained model of the example as a file."""
    checkpoint = load_checkpoint(CHECKPOINT)
    found = exported(checkpoint, formats=("onnx", "openvino"), dynamic_batch=dynamic_batch)
    return exported_path(found, format)


def coarse(path: Path, source: Path, steps: int = 3) -> Path:
    """An ONNX file whose weights are so many steps to each side: it makes mistakes."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim >= 2:
            step = np.abs(values).max() / steps
            rounded = (np.rint(values / step) * step).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    onnx.save(model, path)
    return path
