"""A target that proves files of float16: ONNX Runtime with the rounding that such a file says.

ONNX Runtime leaves that rounding out on processors; see ``half_arithmetic``. Files without float16
run as they are. Its speed means nothing: the rounding is written in standard operators.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Session, Stage, Target, session_name
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.files import line_of, refuse_unusable
from slide_deploy.backends.onnxruntime import cpu
from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, rounded_twin
from slide_deploy.backends.onnxruntime.intermediates import intermediates
from slide_deploy.backends.onnxruntime.options import session_options
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.onnxruntime.session import (
    SUFFIXES,
    open_session,
    require,
    session_of,
)
from slide_deploy.errors import InputError, MissingExtra


def _no_onnx() -> str | None:
    if find_spec("onnx") is None:
        return "onnx is not installed: pip install 'slide-deploy[onnx]'"
    return None


# Sums stay in float32, whatever is asked for.
PROVIDER = Provider(
    "rounded",
    cpu.PROVIDER.library_name,
    precisions=("float32", "float16", "default"),
    hardware=_no_onnx,
)


def _open(path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read a file, write the rounding into a copy in memory, and compile that.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without ONNX Runtime or onnx.
    """
    refuse_unusable(path, PROVIDER.target, SUFFIXES)
    with stage("import"):
        require()
        if find_spec("onnx") is None:
            raise MissingExtra("onnx", "onnx")
    with stage("read"):
        twin = _twin(path)
    options = session_options(PROVIDER, configuration)
    with stage("compile"):
        session = open_session(PROVIDER, path, configuration, options, twin)
    name = session_name(cpu.PROVIDER.target, "float32" if twin is None else "float16")
    return session_of(name, PROVIDER, path, session, configuration, options)


def _twin(path: Path) -> bytes | None:
    """The file with its rounding written out; None for one that holds no float16."""
    import onnx

    try:
        model: Any = onnx.load(path)
        return rounded_twin(model).SerializeToString() if has_float16(model) else None
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
