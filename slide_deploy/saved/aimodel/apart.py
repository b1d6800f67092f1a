"""Call Apple's library in a child process, so that its aborts do not end this process."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.process.child_python import python_environment
from slide_deploy.saved.aimodel.folder import Asset
from slide_deploy.saved.untrusted import damaged

_PACKAGE, _EXTRA = "coreai", "coreai"
# Slide-Swin-B takes some seconds. Only a hostile file takes longer than this.
_MAX_SECONDS = 600
# Results by the digest of the asset: commands read a file more than once, and a call takes a
# second.
_DESCRIPTIONS: dict[bytes, dict[str, Any]] = {}
_MAX_DESCRIPTIONS = 4


def program_of(asset: Asset) -> dict[str, Any]:
    """Return the program of an asset as plain data; see `program.description`.

    Raises:
        InputError: if Apple's library cannot read it, or the graph rules cannot check it.
        MissingExtra: if the library is not installed.
    """
    if asset.digest not in _DESCRIPTIONS:
        described = _run_worker(asset, "describe", str(asset.program))
        if len(_DESCRIPTIONS) >= _MAX_DESCRIPTIONS:
            _DESCRIPTIONS.pop(next(iter(_DESCRIPTIONS)))
        _DESCRIPTIONS[asset.digest] = described
    return _DESCRIPTIONS[asset.digest]


def compiled(asset: Asset, folder: Path, with_intermediates: bool = False) -> Mapping[str, str]:
    """Compile an asset for the library's own runtime.

    Args:
        asset: what to compile.
        folder: where the compiled program goes; its name ends in ``.aimodelx``.
        with_intermediates: add the floating-point intermediates to the outputs.

    Returns:
        For each output of the compiled program, by its name, the name of the value.

    Raises:
        InputError: if Apple's library cannot read or compile the asset.
        MissingExtra: if the library is not installed.
    """
    more = ["intermediates"] if with_intermediates else []
    outputs = _run_worker(asset, "compile", str(asset.path), str(folder), *more)["outputs"]
    return {str(name): str(value) for name, value in outputs.items()}


def _run_worker(asset: Asset, *arguments: str) -> dict[str, Any]:
    if find_spec(_PACKAGE) is None:
        raise MissingExtra(_PACKAGE, _EXTRA)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "slide_deploy.saved.aimodel.worker", *arguments],
            env=python_environment(Path(__file__).parents[3]),
            capture_output=True,
            timeout=_MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{asset.path} was not read within {_MAX_SECONDS} s: do not use it, or export it again."
        ) from error
    if done.returncode:
        raise damaged(asset.path, f"Core AI cannot read its program{_reason(done.stderr)}")
    result: dict[str, Any] = json.loads(done.stdout)
    if "error" in result:
        raise InputError(f"{asset.path} cannot be used: {result['error']}; export it again.")
    return result


def _reason(printed: bytes) -> str:
    """Return the first error that the library printed, in brackets."""
    lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower() and "Traceback" not in line]
    text = errors[0] if errors else ""
    printable = "".join(each if each.isprintable() else "?" for each in text)[:120]
    return f" ({printable})" if printable else ""
