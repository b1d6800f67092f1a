"""The delegates of ExecuTorch, and whether they are available here."""

import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

from slide_deploy.backends.base import Availability
from slide_deploy.backends.native_messages import muted

_EXTRA = "pip install 'slide-deploy[executorch]'"


@dataclass(frozen=True)
class ExecuTorchDelegate:
    """A library that runs parts of a file.

    Attributes:
        name: value of ``--delegate``.
        id: its name in files and in the runtime.
        platform: the ``sys.platform`` that it needs; None for any.
        help: what to do if the runtime was built without it.
    """

    name: str
    id: str
    platform: str | None
    help: str

    @property
    def target(self) -> str:
        """Name of its target."""
        return f"executorch:{self.name}"

    def find(self) -> Availability:
        """Look for the library, the system and the delegate."""
        if self.platform not in (None, sys.platform):
            return Availability(False, self.help)
        for package in ("executorch", "torch"):
            if find_spec(package) is None:
                return Availability(False, f"{package} is not installed: {_EXTRA}")
        library, registered = f"executorch {version('executorch')}", _registered()
        if self.id not in registered:
            has = ", ".join(registered) or "none"
            return Availability(False, f"{library} has {has} only: {self.help}")
        return Availability(True, f"{library}, {self.id}")


def _registered() -> list[str]:
    """Return the delegates in this build of the runtime."""
    with muted():
        from executorch.extension.pybindings import portable_lib

        return sorted(portable_lib._get_registered_backend_names())


DELEGATES = (
    ExecuTorchDelegate("xnnpack", "XnnpackBackend", None, f"{_EXTRA} --force-reinstall"),
    ExecuTorchDelegate(
        "coreml", "CoreMLBackend", "darwin", "it needs macOS, where the same file runs"
    ),
    ExecuTorchDelegate(
        "vulkan",
        "VulkanBackend",
        None,
        "build executorch with -DEXECUTORCH_BUILD_VULKAN=ON, or run the file on an Android phone",
    ),
)
