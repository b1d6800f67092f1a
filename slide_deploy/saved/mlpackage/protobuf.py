"""The protobuf messages of Core ML, borrowed from an installed coremltools without importing it.

``import coremltools`` takes five seconds and brings torch; its message modules alone take a
twentieth of a second and need only protobuf. They are loaded here under a package name of our own
whose search path is coremltools' ``proto`` folder, so that ``coremltools/__init__.py`` never runs.
A real ``import coremltools`` may come before or after: protobuf keeps one description of each
message in a process and gives both sides the same classes.
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
    """The ``Model`` message that the bytes of a ``.mlmodel`` file hold.

    Raises:
        ValueError: the bytes are no such message.
        MissingExtra: coremltools is not installed.
    """
    messages = model_messages()
    # protobuf comes with coremltools; it has no type information of its own.
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        return messages.Model.FromString(content)
    except decode_error as error:
        raise ValueError(str(error)) from error


@functools.cache
def model_messages() -> Any:
    """The module ``Model_pb2``: ``Model`` is the message that a ``.mlmodel`` file holds.

    Raises:
        MissingExtra: coremltools is not installed, or has no message modules.
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
