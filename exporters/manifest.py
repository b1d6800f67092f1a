"""The manifest: what binds a checkpoint, its fold, its verification and the written files."""

import json
import math
import platform
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from slide_deploy import __version__

# 1: the first form.
MANIFEST_VERSION = 1

_LIBRARIES = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "coremltools",
    "numpy",
)


def library_versions() -> dict[str, str]:
    """Versions of this project, of Python and of every library that takes part and is installed."""
    versions = {"slide-deploy": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def to_json(content: Any) -> str:
    """Dataclasses, tuples and paths as strict JSON; NaN and infinity, which it lacks, as text."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
