"""The targets of ONNX Runtime Web: WebAssembly, WebGPU and WebNN in the system's browser."""

from functools import partial

from slide_deploy.backends.base import Availability, Target
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.browser import find_browser, missing
from slide_deploy.backends.web.session import SUFFIXES, open_file


def _find() -> Availability:
    reason = missing()
    if reason is not None:
        return Availability(False, reason)
    if assets.find() is None:
        reason = f"onnxruntime-web {assets.VERSION} has not been fetched: {assets.FETCH}"
        return Availability(False, reason)
    return Availability(True, f"onnxruntime-web {assets.VERSION}, {find_browser()}")


def _target(device: str) -> Target:
    return Target(f"web:{device}", SUFFIXES, _find, partial(open_file, device))


TARGETS = tuple(map(_target, ("wasm", "webgpu", "webnn")))
