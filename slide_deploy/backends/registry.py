"""All targets. Importing this module imports neither a runtime nor torch."""

from importlib import import_module
from pathlib import Path

from slide_deploy.backends.base import Target
from slide_deploy.backends.coreai.targets import TARGETS as COREAI
from slide_deploy.backends.coreml.targets import TARGETS as COREML
from slide_deploy.backends.executorch.targets import TARGETS as EXECUTORCH
from slide_deploy.backends.litert.targets import TARGETS as LITERT
from slide_deploy.backends.mil_interpreter.targets import TARGETS as MIL_INTERPRETER
from slide_deploy.backends.onnxruntime.targets import TARGETS as ONNXRUNTIME
from slide_deploy.backends.openvino.targets import TARGETS as OPENVINO
from slide_deploy.backends.torch.targets import TARGETS as TORCH
from slide_deploy.backends.web.targets import TARGETS as WEB
from slide_deploy.errors import InputError

TARGETS = (
    *(*ONNXRUNTIME, *OPENVINO, *COREML, *MIL_INTERPRETER),
    *(*LITERT, *EXECUTORCH, *COREAI, *TORCH, *WEB),
)

_BY_NAME = {target.name: target for target in TARGETS}
_RUNTIMES = {name.split(":")[0] for name in _BY_NAME}


def target_named(name: str) -> Target:
    """Return a target by name, or the user's own target as "module:attribute".

    The names of runtimes are reserved: a module with the name of a runtime is not imported.

    Raises:
        InputError: if no target has that name.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    module, _, attribute = name.partition(":")
    if not module or not attribute or module in _RUNTIMES:
        raise InputError(f"There is no target {name}: choose one of {', '.join(_BY_NAME)}.")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"There is no target {name} ({error}): choose one of {', '.join(_BY_NAME)}, or name "
            f"your own as module:attribute."
        ) from error
    if not isinstance(found, Target):
        raise InputError(
            f"{name} is a {type(found).__name__}: expected a slide_deploy.backends.base.Target."
        )
    return found


def timed_target_named(name: str) -> Target:
    """Return a target by name, and check that its speed is meaningful.

    Raises:
        InputError: if no target has that name, or it only proves files.
    """
    found = target_named(name)
    if not found.is_timed:
        timed = ", ".join(target.name for target in TARGETS if target.is_timed)
        raise InputError(
            f"{name} only proves files, and its speed is not that of a device: choose one of "
            f"{timed}."
        )
    return found


def targets_for(path: Path) -> tuple[Target, ...]:
    """Return the targets that run files of this suffix, whether or not they are present here.

    Raises:
        InputError: if there are none.
    """
    found = tuple(target for target in TARGETS if path.suffix.lower() in target.suffixes)
    if not found:
        known = ", ".join(dict.fromkeys(kind for target in TARGETS for kind in target.suffixes))
        raise InputError(f"{path} is of no known kind: give a file that ends in one of {known}.")
    return found
