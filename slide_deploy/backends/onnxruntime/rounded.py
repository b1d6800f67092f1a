"""A target that proves float16 files: ONNX Runtime on the CPU, with the rounding written out.

ONNX Runtime omits that rounding on CPUs; see `half_arithmetic`. Files without float16 run
unchanged. Its speed is meaningless, because the rounding consists of extra operators.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Configuration, Session, Stage, Target, session_name
from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.onnxruntime import large_models
from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, with_rounding
from slide_deploy.backends.onnxruntime.intermediates import intermediates
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.onnxruntime.providers import CPU
from slide_deploy.backends.onnxruntime.session import SUFFIXES, open_as, require
from slide_deploy.backends.refusals import refuse_unusable
from slide_deploy.errors import InputError, MissingExtra


def _no_onnx() -> str | None:
    if find_spec("onnx") is None:
        return "onnx is not installed: pip install 'slide-deploy[onnx]'"
    return None


# Sums stay in float32 in every precision.
PROVIDER = Provider(
    "rounded",
    CPU.library_name,
    precisions=("float32", "float16", "default"),
    hardware=_no_onnx,
)


def _open(path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read a file, add the rounding to a copy in memory, and compile the copy; see `Target`."""
    refuse_unusable(path, PROVIDER.target, SUFFIXES)
    with stage("import"):
        require()
        if find_spec("onnx") is None:
            raise MissingExtra("onnx", "onnx")
    with stage("read"):
        model = _with_rounding(path)
    name = session_name(CPU.target, "float32" if model is None else "float16")
    return open_as(name, PROVIDER, path, configuration, stage, model)


def _with_rounding(path: Path) -> Any:
    """Return the file as a model with its rounding written out; None if it holds no float16."""
    try:
        model = large_models.load(path)
        return with_rounding(model, path.parent) if has_float16(model) else None
    except Exception as error:  # onnx has no base class for its errors
        raise InputError(
            f"{path} does not load on {PROVIDER.target} ({line_of(error)})."
        ) from error


TARGET = Target(
    name=PROVIDER.target,
    suffixes=SUFFIXES,
    find=PROVIDER.find,
    open=_open,
    intermediates=intermediates,
    is_timed=False,
)
