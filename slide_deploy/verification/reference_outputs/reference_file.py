"""Write and read reference outputs: one ``.reference.safetensors`` beside each file.

Tensors are stored as safetensors. Everything else is one JSON object in the metadata, as
docs/reference-outputs.md describes. Files may come from untrusted sources, so everything that is
read is checked against the format, and against the sizes that an export writes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.files.reading import parse_json, read_json
from slide_deploy.precisions import Limit, known_precisions
from slide_deploy.verification.draws import Frame, Recipe
from slide_deploy.verification.reference_outputs.record import (
    MAX_DRAWN,
    Expected,
    ExpectedCase,
    Reference,
    Sampling,
)

SUFFIX = ".reference.safetensors"
_MANIFEST = "manifest.json"
_KEY = "slide_deploy.reference"
_VERSION = 1
_MAX_CASES = 100
_MAX_BYTES = 2**28
# Characters of a name, which is printed on terminals.
_MAX_LETTERS = 80
# Random words have 32 bits, and so have seeds and sampled positions.
_WORDS = 2**32
# The largest number of a normal draw with factor 1.
_LARGEST_NORMAL = 4.0
# The arguments of each kind of draw.
_DRAWS = {
    "normal": {"seed", "factor"},
    "pixels": {"seed", "lowest", "count"},
    "choice": {"seed", "values"},
    "constant": {"value"},
    "stored": set(),
}


def reference_path(path: Path) -> Path:
    """The path of a file's reference outputs."""
    return path.with_name(path.name + SUFFIX)


def write_reference(path: Path, reference: Reference) -> None:
    """Write reference outputs. The same content gives the same bytes."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    for case in reference.cases:
        tensors |= {f"input/{case.name}/{name}": each for name, each in case.stored.items()}
        tensors |= {
            f"output/{case.name}/{name}": each.values for name, each in case.outputs.items()
        }
    contiguous = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    path.write_bytes(save(contiguous, {_KEY: json.dumps(_content(reference))}))


def read_reference(path: Path) -> Reference | None:
    """Read the reference outputs beside a file; None if there are none.

    Raises:
        InputError: if they are damaged, if they allow larger errors than the file's precision, if
            their precision is unknown to this version, if the manifest beside them records another
            hash, or if safetensors is not installed.
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
        if beside.stat().st_size > _MAX_BYTES:
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
    _refuse_other_hash(beside)
    return found


def _refuse_loose(path: Path, reference: Reference) -> None:
    """Refuse a limit that is looser than the precision's own; a stricter one is allowed."""
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


def _refuse_other_hash(path: Path) -> None:
    """Refuse reference outputs whose hash differs from the one in the manifest beside them.

    A device that received a file without its manifest has no hash to compare with.
    """
    recorded = _recorded_hashes(path.with_name(_MANIFEST), path.name)
    if recorded and sha256(path) not in recorded:
        raise InputError(
            f"{path} is not what the export wrote, as {_MANIFEST} beside it says: export the file "
            f"again."
        )


def _recorded_hashes(manifest: Path, name: str) -> set[str]:
    """The hashes that a manifest records for reference outputs; empty if it has no entry."""
    try:
        entries = read_json(manifest)["files"]
        recorded = [entry.get("reference_outputs") or {} for entry in entries]
        return {str(each[name]) for each in recorded if name in each}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


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
                    for name, each in case.outputs.items()
                },
            }
            for case in reference.cases
        ],
    }


def _reference(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Reference:
    """Parse plain data as reference outputs; raises any of Python's errors if it is invalid."""
    limit = Limit(_number(content["limit"]["relative"]), _number(content["limit"]["snr_db"]))
    if content["version"] != _VERSION or not 0 < len(content["cases"]) <= _MAX_CASES:
        raise ValueError
    cases = tuple(_case(each, tensors) for each in content["cases"])
    if sum(each.drawn for each in cases) > MAX_DRAWN or limit.relative <= 0:
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
    outputs = {
        _name(each): _expected(output, tensors[f"output/{name}/{each}"])
        for each, output in content["outputs"].items()
    }
    if not (fits and recipes and outputs):
        raise ValueError
    if rows is not None:
        (examples,) = {each.handed[0] for each in recipes.values()}
        if not 0 < _integer(rows) <= examples or examples % rows:
            raise ValueError
    return ExpectedCase(name, recipes, outputs, stored, rows)


def _recipe(content: Mapping[str, Any]) -> Recipe:
    frame, axes, reverse = (content[key] for key in ("frame", "axes", "reverse"))
    shape = _shape(content["shape"])
    width = None if frame is None else frame["width"]
    if width is not None and not (type(width) is int and width > 0 and len(shape) > 1):
        raise ValueError
    if axes is not None and sorted(_shape(axes)) != list(range(len(shape))):
        raise ValueError
    if reverse is not None and not 0 <= _integer(reverse) < len(shape):
        raise ValueError
    dtype = np.dtype(content["dtype"])
    if content["dtype"] != dtype.name or dtype.kind not in "fiub":
        raise ValueError
    if math.prod(shape) > MAX_DRAWN:
        raise ValueError
    return Recipe(
        content["dtype"],
        shape,
        _draw(content["draw"], dtype),
        None if width is None else Frame(width, _number_of_type(frame["inside"], dtype)),
        None if axes is None else tuple(axes),
        reverse,
    )


def _draw(content: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Parse the arguments of a draw: 32-bit integers, except for factors and values."""
    numbers = {key: value for key, value in content.items() if key != "kind"}
    if set(numbers) != _DRAWS[content["kind"]]:
        raise ValueError
    for key, value in numbers.items():
        if key == "factor":
            _number_of_type(_LARGEST_NORMAL * abs(_number(value)), dtype)
        elif key == "value":
            _number_of_type(value, dtype)
        elif key == "values":
            if not isinstance(value, list) or not value:
                raise ValueError
            for each in value:
                _number_of_type(each, dtype)
        elif not 0 <= _integer(value) < _WORDS or (key == "count" and not value):
            raise ValueError
    if content["kind"] == "pixels":
        _number_of_type(numbers["lowest"] + numbers["count"] - 1, dtype)
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
    seed, count = _integer(content["seed"]), _integer(content["count"])
    if not 0 <= seed < _WORDS or count <= 0:
        raise ValueError
    return Sampling(seed, count)


def _name(value: Any) -> str:
    """Parse a name, which is printed on terminals."""
    if not (isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MAX_LETTERS):
        raise ValueError
    return value


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(_integer(size) >= 0 for size in sizes):
        raise ValueError
    return tuple(sizes)


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError
    return value


def _number_of_type(value: Any, dtype: np.dtype[Any]) -> float:
    """Parse a number that a type can represent."""
    number = _number(value)
    if dtype.kind == "f":
        least, most = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    elif dtype.kind == "b":
        least, most = 0.0, 1.0
    else:
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    # Compares the number as written: as a float, 2**63 - 1 rounds to a value out of range.
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
