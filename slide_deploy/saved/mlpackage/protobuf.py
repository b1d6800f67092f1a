"""Load Core ML's protobuf messages from an installed coremltools without importing it.

``import coremltools`` takes five seconds and imports torch. Its message modules alone take a
twentieth of a second and need only protobuf. They are loaded here under another package name, whose
search path is the ``proto`` folder of coremltools, so that ``coremltools/__init__.py`` never runs.
A real ``import coremltools`` may come before or after: protobuf keeps one description of each
message per process, and both imports get the same classes.
"""

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from slide_deploy.errors import MissingExtra

_ALIAS = "_slide_deploy_coreml_proto"


def parse_model(content: bytes) -> Any:
    """Parse the bytes of a ``.mlmodel`` file as a ``Model`` message.

    Raises:
        ValueError: if the bytes are not such a message.
        MissingExtra: if coremltools is not installed.
    """
    messages = model_messages()
    # protobuf is installed with coremltools; it has no type information.
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        return messages.Model.FromString(content)
    except decode_error as error:
        raise ValueError(str(error)) from error


@functools.cache
def model_messages() -> Any:
    """Return the module ``Model_pb2``, in which ``Model`` is the message of a ``.mlmodel`` file.

    Raises:
        MissingExtra: if coremltools is not installed, or lacks the message modules.
    """
    spec = importlib.util.find_spec("coremltools")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("coremltools", "coreml")
    alias = ModuleType(
        _ALIAS, "Alias of coremltools.proto, see slide_deploy.saved.mlpackage.protobuf."
    )
    alias.__path__ = [str(Path(spec.submodule_search_locations[0]) / "proto")]
    sys.modules[_ALIAS] = alias
    try:
        return importlib.import_module(f"{_ALIAS}.Model_pb2")
    except ImportError as error:
        del sys.modules[_ALIAS]
        raise MissingExtra("coremltools", "coreml") from error
