"""Open a file on the target that runs it here.

`slide_deploy.formats` lists the targets of each format.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds, Session, Target, untimed
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.files.model_files import require_model_file
from slide_deploy.formats import format_of
from slide_deploy.machine import usable_threads
from slide_deploy.precisions import FLOAT32, precision_named


def target_for(path: Path, precision: str = FLOAT32.name) -> Target:
    """Return the first target of the file's format that is present here, or else the last.

    Targets that cannot run this particular file are left out.

    Args:
        path: of the file; it need not exist.
        precision: of the file; a format may list a separate target for it.

    Raises:
        InputError: if no target runs files of that kind.
    """
    format = format_of(path)
    own = format.proved_on.get(precision)
    every = [target_named(name) for name in (format.targets if own is None else (own,))]
    *others, last = [each for each in every if each.runs is None or each.runs(path)] or every
    return next((target for target in others if target.find().present), last)


def require_target(name: str) -> Target:
    """Return a target by name, and check that it can be used here.

    Raises:
        InputError: if no target has that name, or it cannot be used here.
    """
    target = target_named(name)
    found = target.find()
    if not found.present:
        raise InputError(f"{name} cannot be used here: {found.detail}.")
    return target


def proof_configuration(target: str, precision: str = FLOAT32.name) -> Configuration:
    """Return the configuration for verifying a file: all threads, and open sizes left open.

    Args:
        target: its name.
        precision: of the file; the target is configured to compute in it if that is necessary.

    Raises:
        InputError: if there is no such precision.
    """
    arithmetic = precision_named(precision).computed_in.get(target, FLOAT32.name)
    return Configuration(threads=usable_threads(), precision=arithmetic, batch=None)


def open_file(path: Path, precision: str = FLOAT32.name, target: str | None = None) -> Session:
    """Open a file to run it on any inputs that it takes.

    Args:
        path: of the file.
        precision: of the file; the target is configured to compute in it if that is necessary.
        target: name of the target; None for the default target of the file.

    Raises:
        InputError: if the file is missing, of an unknown kind or cannot be opened, or the target
            cannot be used here.
        MissingExtra: if the library of the default target is not installed.
    """
    chosen = target_for(path, precision) if target is None else require_target(target)
    require_model_file(path)
    return _with_ends(path, chosen.open(path, proof_configuration(chosen.name, precision), untimed))


def open_exactly(path: Path, dtypes: Collection[str] = ()) -> Session:
    """Open a file to compute reference values, in float32 and as exactly as a runtime here can.

    The last target of its format that is present here runs the file, without optimising the graph
    if the runtime can do without: the kernels that also return the intermediates.

    Args:
        path: of the file.
        dtypes: types of the file's values, if they are known. ONNX Runtime then computes in float32
            what is float16, bfloat16 or float64, unless the file has control flow.

    Raises:
        InputError: if the file is missing, of an unknown kind or cannot be opened.
        MissingExtra: if the library of the default target is not installed.
    """
    every = [target_named(name) for name in reversed(format_of(path).targets)]
    require_model_file(path)
    fitting = [each for each in every if each.runs is None or each.runs(path)]
    chosen = next((each for each in fitting if each.find().present), None) or target_for(path)
    settings = proof_configuration(chosen.name)
    if chosen.open_exactly is not None:
        return _with_ends(path, chosen.open_exactly(path, settings, dtypes))
    return _with_ends(path, chosen.open(path, settings, untimed))


def _with_ends(path: Path, session: Session) -> Session:
    if not session.inputs or not session.outputs:
        raise InputError(f"{path} has no input or no output: export the model again.")
    return session


def values_of(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every intermediate that a file computes for these inputs, unoptimised, by name.

    The last target of the format runs the file. Core ML does not expose intermediates, so its
    packages always run on the MIL interpreter.

    Raises:
        InputError: if the file is missing, of an unknown kind or cannot be run.
    """
    target = target_named(format_of(path).targets[-1])
    require_model_file(path)
    assert target.intermediates is not None, f"{target.name} is last and has no intermediates"
    return target.intermediates(path, feeds)
