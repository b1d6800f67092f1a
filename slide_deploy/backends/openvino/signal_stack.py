"""Keeps signals off a stack that OpenVINO frees.

Its plugin for processors gives the calling thread another stack for signals when it compiles a
model, and puts the former one back when the model goes. Of two models that go in the order in which
they came, the second one puts back the first one's, which is freed by then: the next Ctrl-C ends
the process (seen with 2026.4.1). Where no model finds another stack, none is put back.
"""

import ctypes
import sys

# Of ``sigaltstack`` in <signal.h>: no other stack.
_DISABLED = 2


class _Stack(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


def use_own_stack() -> None:
    """Let this thread handle signals on its own stack, after a model was compiled on it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(None, _DISABLED, 0)), None)
