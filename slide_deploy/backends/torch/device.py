"""A device of PyTorch, and whether it is available here."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from slide_deploy.backends.base import Availability


@dataclass(frozen=True)
class TorchDevice:
    """A device, with or without ``torch.compile``.

    Attributes:
        kind: "cpu", "cuda" or "mps".
        compiled: whether the model is compiled for it.
    """

    kind: str
    compiled: bool = False

    @property
    def target(self) -> str:
        """Name of its target."""
        return f"torch:{self.kind}-compiled" if self.compiled else f"torch:{self.kind}"

    def find(self) -> Availability:
        """Look for the library, the device and the tools that a compilation needs."""
        reason = self.missing()
        if reason is not None:
            return Availability(False, reason)
        import torch

        return Availability(True, f"torch {torch.__version__}, {full_name(self.kind)}")

    def missing(self) -> str | None:
        """Return why it cannot be used here and what would help, or None if it can."""
        if self.kind == "mps" and sys.platform != "darwin":
            return "needs macOS"
        if find_spec("torch") is None:
            return "torch is not installed: pip install torch"
        import torch

        if self.kind == "cuda" and not torch.cuda.is_available():
            return (
                f"torch {torch.__version__} finds no NVIDIA GPU: pip install a build of torch with "
                f"CUDA (pytorch.org/get-started) and check the driver with nvidia-smi"
            )
        if self.kind == "mps" and not torch.backends.mps.is_available():
            return "torch finds no Apple GPU: macOS 14 or newer on Apple silicon is needed"
        return self._no_compiler() if self.compiled else None

    def _no_compiler(self) -> str | None:
        if self.kind == "cuda" and find_spec("triton") is None:
            return "torch.compile writes Triton for GPUs: pip install triton"
        # Torch uses CXX, or else the first of these.
        names = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "cl"]
        if not any(shutil.which(name) for name in names):
            return f"torch.compile needs a C++ compiler ({', '.join(names)}): apt install g++"
        return None


def full_name(kind: str) -> str:
    """Return the name of the device, or its kind if torch reports no name."""
    import torch

    return torch.cuda.get_device_name() if kind == "cuda" else kind
