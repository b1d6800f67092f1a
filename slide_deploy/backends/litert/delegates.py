"""Delegates: libraries that take operators over, for a GPU or for Android's NNAPI.

LiteRT's Python package brings none that its interpreter can load. They come with Android, with
LiteRT built from source, or from a maker of chips. A library has the two functions of
``external_delegate_interface.h``: ``tflite_plugin_create_delegate`` and
``tflite_plugin_destroy_delegate``.
"""

import ctypes
import ctypes.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Availability, Session, Stage
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.files import refuse_options, refuse_unusable
from slide_deploy.backends.litert.interpreter import (
    PACKAGE,
    SUFFIXES,
    open_interpreter,
    require,
    version,
)
from slide_deploy.backends.litert.partitions import Partitions
from slide_deploy.backends.litert.session import opened
from slide_deploy.backends.muted import muted
from slide_deploy.errors import InputError

_FUNCTIONS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
LIBRARY = "library"
"""The option that names the library."""
OWN = "delegate."
"""What options of the delegate's own begin with; it is given the rest of their names."""


@dataclass(frozen=True)
class LiteRTDevice:
    """What a delegate is for.

    Attributes:
        name: the part of the target's name after the colon.
        libraries: names that the system's loader may find, without "lib" and suffix.
        platforms: values of ``sys.platform`` where it exists; empty for all.
        source: where the library comes from, a clause.
    """

    name: str
    libraries: tuple[str, ...]
    source: str
    platforms: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The name of its target."""
        return f"litert:{self.name}"

    def find(self) -> Availability:
        """Look for LiteRT and for a library by its name; neither is loaded."""
        if find_spec(PACKAGE) is None:
            return Availability(
                False, "ai_edge_litert is not installed: pip install 'slide-deploy[litert]'"
            )
        if self.platforms and sys.platform not in self.platforms:
            return Availability(False, f"needs {' or '.join(self.platforms)}")
        found = self._library()
        if found is None:
            names = " or ".join(f"lib{name}" for name in self.libraries)
            return Availability(
                False,
                f"ai-edge-litert {version()} brings no delegate for it, and the system finds no "
                f"{names}: {self.source}, then put its folder on the library path",
            )
        return Availability(True, f"ai-edge-litert {version()}, {found}")

    def _library(self) -> str | None:
        """The first library that the system's loader would take."""
        return next(filter(None, map(ctypes.util.find_library, self.libraries)), None)

    def open(self, path: Path, configuration: Configuration, stage: Stage) -> Session:
        """Open a file with the delegate.

        Raises:
            InputError: if there is no library, it is none, or it takes none of the operators.
            MissingExtra: without LiteRT.
        """
        refuse_unusable(path, self.target, SUFFIXES)
        with stage("import"):
            require()
        given = configuration.options
        refuse_options(self.target, [name for name in given if not name.startswith(OWN)], [LIBRARY])
        own = {name: text for name, text in given.items() if name.startswith(OWN)}
        options = {name.removeprefix(OWN): text for name, text in own.items()}
        library = given.get(LIBRARY) or self._library()
        if not library:
            raise InputError(
                f"{self.target} cannot run here: {self.find().detail}, or name the library by the "
                f"option {LIBRARY}."
            )

        def new() -> Any:
            # One for each interpreter, which owns it.
            delegate = self._loaded(library, options)
            return open_interpreter(
                path, configuration.threads, xnnpack=False, delegates=[delegate]
            )

        facts = {"delegate": library, **own}
        accept = partial(self._refuse_fallback, path)
        return opened(self.target, path, configuration, stage, new, facts, accept)

    def _loaded(self, library: str, options: Mapping[str, str]) -> Any:
        from ai_edge_litert.interpreter import load_delegate

        try:
            # LiteRT's own loader leaves an exception behind where a library is none.
            held = ctypes.CDLL(library)
            missing = [name for name in _FUNCTIONS if not hasattr(held, name)]
            if missing:
                raise ValueError(f"it has no function {missing[0]}")
            with muted():
                return load_delegate(library, dict(options))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.target} cannot use {library} ({reason}): name another library by the "
                f"option {LIBRARY}."
            ) from error

    def _refuse_fallback(self, path: Path, found: Partitions) -> None:
        """Refuse numbers of the processor under another name."""
        if not found.delegated:
            raise InputError(
                f"{path} does not run on {self.target}: its delegate takes none of the operators."
            )


DEVICES = (
    LiteRTDevice(
        "gpu",
        ("tensorflowlite_gpu_delegate", "litert_gpu_delegate"),
        "build LiteRT's GPU delegate as an external delegate",
    ),
    LiteRTDevice(
        "nnapi",
        ("nnapi_external_delegate", "tensorflowlite_nnapi_delegate"),
        "build LiteRT's NNAPI delegate as an external delegate",
        platforms=("android", "linux"),
    ),
)
