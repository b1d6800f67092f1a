"""Asks Apple's library in a process of its own, which may end without taking this one along."""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.process.child_python import python_environment
from slide_deploy.saved.aimodel.folder import Asset, damaged

_PACKAGE, _EXTRA = "coreai", "coreai"
# Slide-Swin-B takes some seconds; what takes longer than this was made to.
_MAX_SECONDS = 600
# Commands read a file more than once, and asking takes a second.
_ANSWERS: dict[bytes, dict[str, Any]] = {}
_MAX_ANSWERS = 4


def program_of(asset: Asset) -> dict[str, Any]:
    """The program of an asset in plain data; see ``program.description``.

    Raises:
        InputError: Apple's library cannot read it, or it is none that rules can be held against.
        MissingExtra: the library is not installed.
    """
    if asset.digest not in _ANSWERS:
        answer = _ask(asset, "describe", str(asset.program))
        if len(_ANSWERS) >= _MAX_ANSWERS:
            _ANSWERS.pop(next(iter(_ANSWERS)))
        _ANSWERS[asset.digest] = answer
    return _ANSWERS[asset.digest]


def compiled(asset: Asset, folder: Path, with_intermediates: bool = False) -> Mapping[str, str]:
    """Compile an asset for the library's own runtime.

    Args:
        asset: what to compile.
        folder: where the compiled program goes; its name ends in ``.aimodelx``.
        with_intermediates: give the inner floating-point values as outputs as well.

    Returns:
        the outputs of the compiled program, by what they are called: which value each is.

    Raises:
        InputError: Apple's library cannot read or compile the asset.
        MissingExtra: the library is not installed.
    """
    more = ["inner"] if with_intermediates else []
    outputs = _ask(asset, "compile", str(asset.path), str(folder), *more)["outputs"]
    return {str(name): str(value) for name, value in outputs.items()}


def _ask(asset: Asset, *arguments: str) -> dict[str, Any]:
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
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise InputError(f"{asset.path} cannot be used: {answer['error']}; export it again.")
    return answer


def _reason(said: bytes) -> str:
    """What the library said last, in brackets."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    errors = [line for line in lines if "error" in line.lower() and "Traceback" not in line]
    text = errors[0] if errors else ""
    printable = "".join(each if each.isprintable() else "?" for each in text)[:120]
    return f" ({printable})" if printable else ""
