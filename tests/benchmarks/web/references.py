"""Reference outputs for tests, drawn and computed by code independent of the readers."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors.numpy import save_file

from slide_deploy.files.companions import model_digest

SUFFIX = ".reference.safetensors"
MASK = 0xFFFFFFFF


def mix(word: int) -> int:
    """Compute the hash of the format with Python integers."""
    word ^= word >> 16
    word = word * 0x7FEB352D & MASK
    word ^= word >> 15
    word = word * 0x846CA68B & MASK
    return word ^ word >> 16


def word(seed: int, place: int) -> int:
    return mix((mix(place) + mix(seed)) & MASK)


@functools.cache
def normal(seed: int, shape: tuple[int, ...], factor: float = 1.0) -> np.ndarray:
    """Return a tensor of normal numbers. It is cached and must not be changed."""
    values = []
    for index in range(int(np.prod(shape))):
        a, b = word(seed, 2 * index), word(seed, 2 * index + 1)
        total = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16) - 131070
        values.append(total * factor / 32768)
    return np.array(values, np.float32).reshape(shape)


def recipe(shape: tuple[int, ...], draw: dict[str, Any], **others: Any) -> dict[str, Any]:
    plain = {"frame": None, "axes": None, "reverse": None}
    return {"dtype": "float32", "shape": list(shape), "draw": draw, **plain, **others}


def write_reference(path: Path, truth: Path | None = None, samples: int | None = None) -> Path:
    """Write the outputs of ``truth`` as reference outputs of ``path``: two cases of one image."""
    session = onnxruntime.InferenceSession(truth or path)
    [image] = session.get_inputs()
    shape = tuple(size if isinstance(size, int) else 1 for size in image.shape)
    names = [each.name for each in session.get_outputs()]
    tensors: dict[str, np.ndarray] = {}
    cases = []
    for name, seed, frame in (("noise", 11, None), ("border", 12, {"width": 4, "inside": 0.0})):
        values = normal(seed, shape)
        if frame:
            values = values.copy()
            values[..., 4:-4, 4:-4] = 0
        draw = {"kind": "normal", "seed": seed, "factor": 1.0}
        outputs = {}
        for output, whole in zip(names, session.run(None, {image.name: values}), strict=True):
            stored = whole
            if samples:
                places = [word(5, index) % whole.size for index in range(samples)]
                stored = whole.reshape(-1)[places]
            tensors[f"output/{name}/{output}"] = np.ascontiguousarray(stored)
            outputs[output] = {
                "shape": list(whole.shape),
                "samples": {"count": samples, "seed": 5} if samples else None,
                "scale": float(np.abs(whole).max()),
            }
        inputs = {image.name: recipe(shape, draw, frame=frame)}
        cases.append({"name": name, "rows": None, "inputs": inputs, "outputs": outputs})
    record = {
        "version": 1,
        "sha256": model_digest(path),
        "precision": "float32",
        "limit": {"relative": 1e-4, "snr_db": 80.0},
        "outputs": names,
        "cases": cases,
    }
    beside = path.with_name(path.name + SUFFIX)
    save_file(tensors, beside, {"slide_deploy.reference": json.dumps(record)})
    return beside
