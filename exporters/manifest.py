"""The manifest: what binds a checkpoint, its fold, its verification and the written files."""

import json
import math
import platform
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from slide_deploy import __version__
from slide_deploy.errors import InputError

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


def entries_beside(manifest: Path, checkpoint_sha256: str) -> list[dict[str, Any]]:
    """What a manifest says of the files that an earlier export of the same checkpoint left there.

    Args:
        manifest: may be missing.
        checkpoint_sha256: of the checkpoint that is about to be exported.

    Returns:
        The entries of files that still are there, in their order.

    Raises:
        InputError: if the manifest is another checkpoint's or cannot be read.
    """
    if not manifest.exists():
        return []
    refusal = InputError(
        f"{manifest} belongs to another export: give --force to replace it, or another --out."
    )
    try:
        content = json.loads(manifest.read_text())
        if content["manifest_version"] != MANIFEST_VERSION:
            raise refusal
        if content["checkpoint"]["sha256"] != checkpoint_sha256:
            raise refusal
        entries = [
            entry
            for entry in content["files"]
            if all((manifest.parent / name).exists() for name in entry["sha256"])
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refusal from error
    return [entry for entry in entries if entry["sha256"]]


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
