"""Whether there is an NVIDIA GPU, from the driver alone.

ONNX Runtime cannot tell: a build with CUDA names its provider on any machine.
"""

import ctypes
import sys


def no_gpu() -> str | None:
    """Why no NVIDIA GPU can be used, with what would help; None if there is one."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver here ({library}): install it from nvidia.com/drivers"
    count = ctypes.c_int(0)
    # Both answer 0 for success, as every function of the driver does.
    if (
        driver.cuInit(0) != 0
        or driver.cuDeviceGetCount(ctypes.byref(count)) != 0
        or not count.value
    ):
        return "the NVIDIA driver finds no GPU: run nvidia-smi to see why"
    return None
