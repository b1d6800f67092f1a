"""A delegate that takes everything, in the place of those that only a device has."""

from types import SimpleNamespace
from typing import Any

import pytest

from slide_deploy.backends.litert import delegates
from slide_deploy.backends.litert.interpreter import open_interpreter


def install(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """XNNPACK is a delegate as well: it stands in for the library that the system would find."""
    behaviour = SimpleNamespace(loaded=[], takes_anything=True)

    def load(device: Any, library: str, options: Any) -> object:
        behaviour.loaded.append((library, dict(options)))
        return object()

    def opened(path: Any, threads: int, *, xnnpack: bool, delegates: Any) -> Any:
        assert not xnnpack
        assert len(delegates) == 1
        return open_interpreter(path, threads, xnnpack=behaviour.takes_anything)

    monkeypatch.setattr(delegates.LiteRTDevice, "_loaded", load)
    monkeypatch.setattr(delegates.LiteRTDevice, "_library", lambda device: "libdelegate.so")
    monkeypatch.setattr(delegates, "open_interpreter", opened)
    return behaviour
