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

from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_json
from slide_deploy.precisions import Limit, known_precisions
from slide_deploy.verification.draws import Frame, Recipe
from slide_deploy.verification.reference_outputs.manifest_entry import refuse_others
from slide_deploy.verification.reference_outputs.record import (
    MOST_DRAWN,
    Expected,
    ExpectedCase,
    Reference,
    Sampling,
)

SUFFIX = ".reference.safetensors"
_KEY = "slide_deploy.reference"
_VERSION = 1
_MOST_CASES = 100
_MOST_BYTES = 2**28
# Letters of a name, which terminals show.
_MOST_LETTERS = 80
# Words have 32 bits, and places are words.
_WORDS = 2**32
# The largest sum of a normal draw, in units of its factor.
_LARGEST_NORMAL = 4.0
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
        InputError: if they are damaged, allow more than the precision of the file, are of a
            precision that this version does not know, are not those that the manifest beside
            them records, or safetensors is not installed.
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
        content = parse_json(_metadata(beside)[_KEY])
        found = _reference(content, load_file(beside))
    except (
        *(SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError, MemoryError, IndexError),
    ) as error:
        raise InputError(
            f"{beside} holds no reference outputs that slide-deploy writes: export the file again, "
            f"or remove it to measure the file unproven."
        ) from error
    _refuse_loose(beside, found)
    refuse_others(beside)
    return found


def _refuse_loose(path: Path, reference: Reference) -> None:
    """A file may be held to less than its precision allows, and never to more."""
    known = {each.name: each.limit for each in known_precisions()}
    if reference.precision not in known:
        raise InputError(
            f"{path} is of the precision {reference.precision}, which this version does not know: "
            f"upgrade with pip install --upgrade slide-deploy."
        )
    if known[reference.precision].looser(reference.limit) != known[reference.precision]:
        raise InputError(
            f"{path} allows larger errors than {reference.precision} does: export the file again."
        )


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
    if content["version"] != _VERSION or not 0 < len(content["cases"]) <= _MOST_CASES:
        raise ValueError
    cases = tuple(_case(each, tensors) for each in content["cases"])
    if sum(each.drawn for each in cases) > MOST_DRAWN or limit.relative <= 0:
        raise ValueError
    if not isinstance(content["sha256"], str):
        raise ValueError
    return Reference(content["sha256"], _name(content["precision"]), limit, cases)


def _case(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> ExpectedCase:
    name, rows = _name(content["name"]), content["rows"]
    recipes = {_name(each): _recipe(recipe) for each, recipe in content["inputs"].items()}
    stored = {
        each: tensors[f"input/{name}/{each}"]
        for each, recipe in recipes.items()
        if recipe.draw["kind"] == "stored"
    }
    fits = all(
        (each.shape, str(each.dtype)) == (recipes[key].shape, recipes[key].dtype)
        for key, each in stored.items()
    )
    answers = {
        _name(each): _expected(output, tensors[f"output/{name}/{each}"])
        for each, output in content["outputs"].items()
    }
    if not (fits and recipes and answers):
        raise ValueError
    if rows is not None:
        (examples,) = {each.handed[0] for each in recipes.values()}
        if not 0 < _whole(rows) <= examples or examples % rows:
            raise ValueError
    return ExpectedCase(name, recipes, answers, stored, rows)


def _recipe(content: Mapping[str, Any]) -> Recipe:
    frame, axes, reverse = (content[key] for key in ("frame", "axes", "reverse"))
    shape = _shape(content["shape"])
    width = None if frame is None else frame["width"]
    if width is not None and not (type(width) is int and width > 0 and len(shape) > 1):
        raise ValueError
    if axes is not None and sorted(_shape(axes)) != list(range(len(shape))):
        raise ValueError
    if reverse is not None and not 0 <= _whole(reverse) < len(shape):
        raise ValueError
    dtype = np.dtype(content["dtype"])
    if content["dtype"] != dtype.name or dtype.kind not in "fiub":
        raise ValueError
    if math.prod(shape) > MOST_DRAWN:
        raise ValueError
    return Recipe(
        content["dtype"],
        shape,
        _draw(content["draw"], dtype),
        None if width is None else Frame(width, _fitting(frame["inside"], dtype)),
        None if axes is None else tuple(axes),
        reverse,
    )


def _draw(content: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The numbers of a draw: whole ones of 32 bits, but for factors and values."""
    numbers = {key: value for key, value in content.items() if key != "kind"}
    if set(numbers) != _DRAWS[content["kind"]]:
        raise ValueError
    for key, value in numbers.items():
        if key == "factor":
            _fitting(_LARGEST_NORMAL * abs(_number(value)), dtype)
        elif key == "value":
            _fitting(value, dtype)
        elif key == "values":
            if not isinstance(value, list) or not value:
                raise ValueError
            for each in value:
                _fitting(each, dtype)
        elif not 0 <= _whole(value) < _WORDS or (key == "count" and not value):
            raise ValueError
    if content["kind"] == "pixels":
        _fitting(numbers["lowest"] + numbers["count"] - 1, dtype)
    return dict(content)


def _expected(content: Mapping[str, Any], values: np.ndarray) -> Expected:
    shape, samples = _shape(content["shape"]), content["samples"]
    sampling = None if samples is None else _sampling(samples)
    wanted = shape if sampling is None else (sampling.count,)
    if values.shape != wanted or values.dtype.kind not in "fiub":
        raise ValueError
    if sampling is not None and not 0 < math.prod(shape) < _WORDS:
        raise ValueError
    scale = _number(content["scale"])
    if scale < 0:
        raise ValueError
    return Expected(shape, values, scale, sampling)


def _sampling(content: Mapping[str, Any]) -> Sampling:
    seed, count = _whole(content["seed"]), _whole(content["count"])
    if not 0 <= seed < _WORDS or count <= 0:
        raise ValueError
    return Sampling(seed, count)


def _name(value: Any) -> str:
    """A name, which ends up on terminals."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MOST_LETTERS):
        raise ValueError
    return value


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(_whole(size) >= 0 for size in sizes):
        raise ValueError
    return tuple(sizes)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError
    return value


def _fitting(value: Any, dtype: np.dtype[Any]) -> float:
    """A number that a type can hold."""
    number = _number(value)
    if dtype.kind == "f":
        least, most = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    elif dtype.kind == "b":
        least, most = 0.0, 1.0
    else:
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    # As it is written: 2**63 - 1 rounds to a float that is too large for the type.
    if not least <= value <= most:
        raise ValueError
    return number


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number
