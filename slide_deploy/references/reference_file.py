"""Reference outputs on disk: one ``.reference.safetensors`` beside each file.

The tensors are those of safetensors; everything else is one JSON object in its metadata, as
docs/reference-outputs.md describes. Files come from strangers: what is read is held against the
form, and against sizes that an export writes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.draws import Frame, Recipe
from slide_deploy.errors import InputError
from slide_deploy.precisions import Limit
from slide_deploy.references.record import Expected, ExpectedCase, Reference, Sampling

SUFFIX = ".reference.safetensors"
_KEY = "slide_deploy.reference"
_VERSION = 1
# A colour picture of 8192x8192 has 2**27.6 numbers; larger inputs come from a damaged size.
_MOST_NUMBERS = 2**28
_MOST_CASES = 100
_MOST_BYTES = 2**28
# What each kind of draw tells, all of it numbers.
_DRAWS = {
    "normal": {"seed", "factor"},
    "pixels": {"seed", "lowest", "count"},
    "choice": {"seed", "values"},
    "constant": {"value"},
    "stored": set(),
}


def reference_path(path: Path) -> Path:
    """Where the reference outputs of a file stand."""
    return path.with_name(path.name + SUFFIX)


def write_reference(path: Path, reference: Reference) -> None:
    """Write reference outputs; the same content is the same bytes.

    Args:
        path: of the file to write, see ``reference_path``.
        reference: what it holds.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    for case in reference.cases:
        tensors |= {f"input/{case.name}/{name}": each for name, each in case.stored.items()}
        tensors |= {
            f"output/{case.name}/{name}": each.values for name, each in case.answers.items()
        }
    contiguous = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    path.write_bytes(save(contiguous, {_KEY: json.dumps(_content(reference))}))


def read_reference(path: Path) -> Reference | None:
    """The reference outputs beside a file; None where there are none.

    Args:
        path: of the file that they belong to.

    Raises:
        InputError: if they are damaged, or safetensors is not installed.
    """
    beside = reference_path(path)
    if not beside.is_file():
        return None
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise InputError(
            f"{beside} cannot be read without safetensors: pip install safetensors."
        ) from error
    try:
        if beside.stat().st_size > _MOST_BYTES:
            raise ValueError
        content = json.loads(_metadata(beside)[_KEY])
        return _reference(content, load_file(beside))
    except (
        *(SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError, MemoryError, InputError),
    ) as error:
        raise InputError(
            f"{beside} holds no reference outputs that slide-deploy writes: export the file again, "
            f"or remove it to measure the file unproven."
        ) from error


def _metadata(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as opened:
        found: Mapping[str, str] = opened.metadata() or {}
        return found


def _content(reference: Reference) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "sha256": reference.model_sha256,
        "precision": reference.precision,
        "limit": asdict(reference.limit),
        "cases": [
            {
                "name": case.name,
                "rows": case.rows,
                "inputs": {name: asdict(each) for name, each in case.recipes.items()},
                "outputs": {
                    name: {
                        "shape": each.shape,
                        "scale": each.largest,
                        "samples": None if each.sampling is None else asdict(each.sampling),
                    }
                    for name, each in case.answers.items()
                },
            }
            for case in reference.cases
        ],
    }


def _reference(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Reference:
    """Plain data as reference outputs; any error of Python's where they are none."""
    limit = Limit(_number(content["limit"]["relative"]), _number(content["limit"]["snr_db"]))
    cases = tuple(_case(each, tensors) for each in content["cases"][:_MOST_CASES])
    known = content["version"] == _VERSION and cases and limit.relative > 0
    if not (known and isinstance(content["sha256"], str) and isinstance(content["precision"], str)):
        raise ValueError
    return Reference(content["sha256"], content["precision"], limit, cases)


def _case(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> ExpectedCase:
    name, rows = content["name"], content["rows"]
    recipes = {each: _recipe(recipe) for each, recipe in content["inputs"].items()}
    stored = {
        each: tensors[f"input/{name}/{each}"]
        for each, recipe in recipes.items()
        if recipe.draw["kind"] == "stored"
    }
    fits = all(each.shape == recipes[key].shape for key, each in stored.items())
    answers = {
        each: _expected(output, tensors[f"output/{name}/{each}"])
        for each, output in content["outputs"].items()
    }
    if not (fits and recipes and answers and isinstance(name, str)):
        raise ValueError
    if rows is not None and not (type(rows) is int and rows > 0):
        raise ValueError
    return ExpectedCase(name, recipes, answers, stored, rows)


def _recipe(content: Mapping[str, Any]) -> Recipe:
    frame, axes, reverse = (content[key] for key in ("frame", "axes", "reverse"))
    shape = _shape(content["shape"])
    width = None if frame is None else frame["width"]
    if width is not None and not (type(width) is int and width > 0 and len(shape) > 1):
        raise ValueError
    if axes is not None and sorted(axes) != list(range(len(shape))):
        raise ValueError
    if reverse is not None and reverse not in range(len(shape)):
        raise ValueError
    if math.prod(shape) > _MOST_NUMBERS or np.dtype(content["dtype"]).kind not in "fiub":
        raise ValueError
    return Recipe(
        content["dtype"],
        shape,
        _draw(content["draw"]),
        None if width is None else Frame(width, _number(frame["inside"])),
        None if axes is None else tuple(axes),
        reverse,
    )


def _draw(content: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a draw: whole ones of 32 bits, but for factors and values."""
    numbers = {key: value for key, value in content.items() if key != "kind"}
    if set(numbers) != _DRAWS[content["kind"]]:
        raise ValueError
    for key, value in numbers.items():
        if key in ("factor", "value"):
            _number(value)
        elif key == "values":
            if not all(isinstance(each, int | float) for each in value) or not value:
                raise ValueError
        elif type(value) is not int or not 0 <= value < 2**32 or (key == "count" and not value):
            raise ValueError
    return dict(content)


def _expected(content: Mapping[str, Any], values: np.ndarray) -> Expected:
    shape, samples = _shape(content["shape"]), content["samples"]
    sampling = None if samples is None else Sampling(int(samples["seed"]), int(samples["count"]))
    wanted = shape if sampling is None else (sampling.count,)
    if values.shape != wanted:
        raise ValueError
    return Expected(shape, values, _number(content["scale"]), sampling)


def _shape(sizes: Any) -> tuple[int, ...]:
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError
    return tuple(sizes)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number
