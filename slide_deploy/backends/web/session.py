"""Open a written file in a driven browser.

A call passes through playwright, which takes longer than a small network. So the page times each
call with its own timer, and the session's clock is the total time of the page's calls. It does not
advance at any other time.
"""

import base64
import secrets
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds, Port, Session, Stage
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.browser import DrivenPage
from slide_deploy.backends.web.site import Resource, Site, serving
from slide_deploy.errors import InputError

SUFFIXES = (".onnx",)
PAGE = Path(__file__).parent / "page"
# Paths of the runtime's files and the model's on the site.
RUNTIME, MODEL = "runtime/", "model/"


def open_file(device: str, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Open a file on "wasm", "webgpu" or "webnn"; see `Target`."""
    _refuse_unusable(device, path, configuration)
    folder = assets.require()
    names = assets.runtime_files(device)
    files = _with_companions(path)
    with ExitStack() as stack:
        resources = driver_resources() | {RUNTIME + name: folder / name for name in names}
        resources |= {MODEL + name: file for name, file in files.items()}
        # Other programs on this machine can reach the port, but cannot guess the token.
        token = secrets.token_urlsafe(16)
        site = Site({f"{token}/{name}": each for name, each in resources.items()})
        port = stack.enter_context(serving(site))
        base = f"http://127.0.0.1:{port}/{token}/"
        with stage("import"):
            page = DrivenPage(base + "driver.html", device)
        stack.callback(page.close)
        library, glue, binary = (base + RUNTIME + name for name in names)
        wanted = {
            "device": device,
            "threads": configuration.threads,
            "runtime": {"library": library, "glue": glue, "binary": binary},
            "model": base + MODEL + path.name,
            "externals": {name: base + MODEL + name for name in files if name != path.name},
        }
        with stage("compile"):
            try:
                opened = page.send("open", wanted)
            except InputError as error:
                raise InputError(f"{path} does not load on web:{device} ({error}).") from error
        calls = _Calls(page)
        facts = {name: str(fact) for name, fact in opened["facts"].items()}
        version = facts.pop("version")
        session = Session(
            runtime="onnxruntime-web",
            version=version,
            inputs=sized(path, tuple(map(_port, opened["inputs"])), configuration),
            outputs=tuple(opened["outputs"]),
            new_stream=lambda: _Stream(calls),
            facts={
                "library": "onnxruntime-web",
                "version": version,
                "device": device,
                "precision": configuration.precision,
                **facts,
            },
            clock=calls.clock,
            is_apart=True,
        )
        # The browser and the site end when the last stream is garbage collected.
        weakref.finalize(calls, stack.pop_all().close)
        return session


def driver_resources() -> dict[str, Resource]:
    """Return the resources of the driven page, by their paths on the site."""
    return {path.name: path for path in PAGE.iterdir() if path.suffix in (".html", ".js")}


class _Calls:
    """The calls of one page, and the clock that they advance."""

    def __init__(self, page: DrivenPage) -> None:
        self.page = page
        self._nanoseconds = 0.0

    def clock(self) -> int:
        """Return the total time of the page's calls in nanoseconds."""
        return round(self._nanoseconds)

    def run(self) -> None:
        """Run one inference, and advance the clock by its time, which the page returns."""
        self._nanoseconds += self.page.send("run") * 1e6


class _Stream:
    """See `slide_deploy.backends.base.Stream`. All streams share the page's one session."""

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def bind(self, feeds: Feeds) -> None:
        tensors = {
            name: {
                "dtype": values.dtype.name,
                "shape": list(values.shape),
                "values": base64.b64encode(np.ascontiguousarray(values).data).decode(),
            }
            for name, values in feeds.items()
        }
        self._calls.page.send("bind", tensors)

    def run(self) -> None:
        self._calls.run()

    def read(self) -> Sequence[np.ndarray]:
        return [_array(each) for each in self._calls.page.send("read")]


def _array(tensor: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(tensor["values"]), tensor["dtype"])
    return values.reshape(tensor["shape"]).copy()


def _with_companions(path: Path) -> dict[str, Path]:
    """Return the file and the usual files of external weights, by name.

    The exact names are in the graph, which cannot be read without a library.
    """
    ends = (".data", "_data")
    beside = [path, *(path.with_name(path.name + end) for end in ends)]
    return {each.name: each for each in beside if each.is_file()}


def _port(described: dict[str, Any]) -> Port:
    return Port(described["name"], tuple(described["shape"]), described["dtype"])


def _refuse_unusable(device: str, path: Path, configuration: Configuration) -> None:
    target = f"web:{device}"
    refuse_unusable(path, target, SUFFIXES)
    refuse_precision(target, configuration.precision)
    refuse_options(target, configuration.options, ())
    if configuration.streams > 1:
        raise InputError(f"{target} runs one call at a time: use --streams 1.")
