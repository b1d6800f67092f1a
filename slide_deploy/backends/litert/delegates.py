"""External delegates: libraries that run operators on a GPU or through Android's NNAPI.

LiteRT's Python package contains no delegate that its interpreter can load. Delegates come with
Android, from a build of LiteRT, or from a chip vendor. Such a library exports the two functions of
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

from slide_deploy.backends.base import Availability, Configuration, Session, Stage
from slide_deploy.backends.litert.interpreter import (
    PACKAGE,
    SUFFIXES,
    open_interpreter,
    require,
    version,
)
from slide_deploy.backends.litert.partitions import Partitions
from slide_deploy.backends.litert.session import opened
from slide_deploy.backends.native_messages import muted
from slide_deploy.backends.refusals import refuse_options, refuse_unusable
from slide_deploy.errors import InputError

_FUNCTIONS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
LIBRARY = "library"
"""The option that names the library."""
OWN = "delegate."
"""Prefix of the options that are passed to the delegate, without the prefix."""


@dataclass(frozen=True)
class LiteRTDevice:
    """A kind of device that a delegate runs on.

    Attributes:
        name: the part of the target's name after the colon.
        libraries: names to look up with the system's loader, without "lib" and suffix.
        source: where to get the library, as a clause.
        platforms: values of ``sys.platform`` that have it; empty for all.
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
        """Look for LiteRT and for the delegate's library without loading them."""
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
                f"ai-edge-litert {version()} contains no delegate for it, and the system finds no "
                f"{names}: {self.source}, then add its folder to the library path",
            )
        return Availability(True, f"ai-edge-litert {version()}, {found}")

    def _library(self) -> str | None:
        """Return the first library that the system's loader finds."""
        return next(filter(None, map(ctypes.util.find_library, self.libraries)), None)

    def open(self, path: Path, configuration: Configuration, stage: Stage) -> Session:
        """Open a file with the delegate.

        Raises:
            InputError: if there is no library, it is not a delegate, or it takes no operator.
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
                f"{self.target} cannot run here: {self.find().detail}, or name the library with "
                f"the option {LIBRARY}."
            )

        def new() -> Any:
            # Each interpreter owns its delegate.
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
            # LiteRT's own loader leaves a pending exception if the file is not a delegate.
            held = ctypes.CDLL(library)
            missing = [name for name in _FUNCTIONS if not hasattr(held, name)]
            if missing:
                raise ValueError(f"it has no function {missing[0]}")
            with muted():
                return load_delegate(library, dict(options))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.target} cannot use {library} ({reason}): name another library with the "
                f"option {LIBRARY}."
            ) from error

    def _refuse_fallback(self, path: Path, found: Partitions) -> None:
        """Refuse to measure the CPU as another device."""
        if not found.delegated:
            raise InputError(
                f"{path} does not run on {self.target}: its delegate takes no operator, so "
                f"choose another target."
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
