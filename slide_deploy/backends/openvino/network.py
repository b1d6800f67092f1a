"""A file compiled by OpenVINO, and the requests that run it."""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import (
    BFLOAT16,
    Configuration,
    Feeds,
    Port,
    Session,
    Stage,
    session_name,
    untimed,
)
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.openvino.properties import (
    PRECISIONS,
    SHORT_NAMES,
    automatic_properties,
    properties_of,
)
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.errors import InputError, MissingExtra

SUFFIXES = (".xml", ".onnx")
# The section of a file's metadata that slide-deploy writes.
_SECTION = "slide_deploy"
# Properties of a compiled model that are recorded, if the device has them.
_REPORTED = (
    *("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING"),
    *("SCHEDULING_CORE_TYPE", "ENABLE_HYPER_THREADING", "EXECUTION_MODE_HINT", "PERF_COUNT"),
    "RUNTIME_REQUIREMENTS",
)


def version() -> str:
    """Return the version of the library, without the build."""
    import openvino

    return str(openvino.__version__).split("-")[0]


def open_on(device: str, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read and compile a file; see `Target`."""
    network = compile_file(device, path, configuration, stage)
    return Session(
        runtime=session_name(target_name(device), configuration.precision),
        version=version(),
        inputs=network.inputs,
        outputs=network.outputs,
        new_stream=partial(Request, network),
        facts={
            "library": "openvino",
            "version": version(),
            **_facts(network.compiled, configuration),
        },
        metadata=network.metadata,
    )


def target_name(device: str) -> str:
    """Return the name of a device's target."""
    return f"openvino:{device.lower()}"


@dataclass(frozen=True)
class OpenVINONetwork:
    """A compiled file.

    Attributes:
        compiled: model of OpenVINO.
        inputs: in the order of the file.
        outputs: their names, in the order of the file.
        metadata: entries that the exporter stored with the file, by key.
    """

    compiled: Any
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def compile_file(
    device: str,
    path: Path,
    configuration: Configuration,
    stage: Stage = untimed,
    extra: Mapping[str, str] | None = None,
) -> OpenVINONetwork:
    """Read and compile a file, with ``extra`` properties beside those of the configuration.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without OpenVINO.
    """
    name = target_name(device)
    refuse_unusable(path, name, SUFFIXES)
    with stage("import"):
        if find_spec("openvino") is None:
            raise MissingExtra("openvino", "openvino")
        import openvino
    core = openvino.Core()
    properties = _properties(core, device, name, configuration) | dict(extra or {})
    with stage("read"), refusals(path, name):
        model = core.read_model(path)
        described = [port_of(*item) for item in enumerate(model.inputs)]
        ports = sized(path, described, configuration)
        if any(port.shape != each.shape for port, each in zip(ports, described, strict=True)):
            model.reshape(
                {
                    port: openvino.PartialShape(
                        [-1 if size is None else size for size in settled.shape]
                    )
                    for port, settled in zip(model.inputs, ports, strict=True)
                }
            )
    with stage("compile"), refusals(path, name):
        compiled = core.compile_model(model, device, properties)
        use_own_signal_stack()
        outputs = _output_names(compiled)
    _refuse_another_device(device, name, compiled)
    _refuse_another_precision(name, configuration, compiled)
    return OpenVINONetwork(compiled, ports, outputs, _metadata(path, model))


class Request:
    """Calls of a compiled file, through its own inference request, which owns the outputs."""

    def __init__(self, network: OpenVINONetwork) -> None:
        self._compiled = network.compiled
        self._inputs = network.inputs
        self.request: Any = network.compiled.create_infer_request()

    def bind(self, feeds: Feeds) -> None:
        """Set a tensor for each input, by name."""
        import openvino

        for port, described in zip(self._compiled.inputs, self._inputs, strict=True):
            values = np.asarray(feeds[described.name], order="C")
            self.request.set_tensor(port, openvino.Tensor(values))

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self.request.infer(share_outputs=True)  # without it every output is copied

    def read(self) -> list[np.ndarray]:
        """Return copies of the last call's outputs."""
        count = len(self._compiled.outputs)
        return [np.array(self.request.get_output_tensor(index).data) for index in range(count)]


def _properties(core: Any, device: str, name: str, configuration: Configuration) -> dict[str, Any]:
    present = core.available_devices
    if device != "AUTO" and device not in {found.split(".")[0] for found in present}:
        raise InputError(f"{name} cannot run here: OpenVINO finds {', '.join(present)} only.")
    refuse_precision(
        name, configuration.precision, PRECISIONS[device], "the device does not compute in it"
    )
    changeable = [
        property_name
        for property_name, access in core.get_property(device, "SUPPORTED_PROPERTIES").items()
        if access != "RO"
    ]
    if device == "AUTO":
        chosen: dict[str, Any] = automatic_properties(present, configuration)
        changeable.append("DEVICE_PROPERTIES")
    else:
        chosen = properties_of(device, configuration)
    refuse_options(name, configuration.options, changeable)
    return chosen | configuration.options


def port_of(index: int, port: Any) -> Port:
    """Describe an input of a model.

    Raises:
        InputError: if its rank is not fixed.
    """
    name = port_name(index, port)
    element = port.get_element_type()
    # numpy has no bfloat16, and OpenVINO returns int16 for it.
    dtype = BFLOAT16 if element.get_type_name() == "bf16" else element.to_dtype().name
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise InputError(f"Input {name} has no fixed rank: export the file with one.")
    sizes = (None if size.is_dynamic else size.get_length() for size in shape)
    return Port(name, tuple(sizes), dtype)


def port_name(index: int, port: Any) -> str:
    """Return the name of an input or an output, which may have several names, or none.

    Names that are numbers were added by a converter, and are used only if there is no other name.
    """
    return min(port.get_names(), key=lambda name: (name.isdecimal(), name), default=str(index))


def _output_names(compiled: Any) -> tuple[str, ...]:
    """Return a unique name for each output; two outputs may be the same tensor, with one name."""
    names = [port_name(*item) for item in enumerate(compiled.outputs)]
    return tuple(
        f"{name}#{index}" if name in names[:index] else name for index, name in enumerate(names)
    )


def _metadata(path: Path, model: Any) -> dict[str, str]:
    """Return the entries that slide-deploy stored with a file. OpenVINO keeps them as a tree.

    Raises:
        InputError: if they are not text.
    """
    if not model.has_rt_info([_SECTION]):
        return {}
    try:
        stored = model.get_rt_info([_SECTION]).value
    except UnicodeDecodeError as error:
        raise InputError(f"{path} holds metadata that is not UTF-8: export it again.") from error
    entries = stored.items() if isinstance(stored, dict) else ()
    return {f"{_SECTION}.{key}": str(getattr(value, "value", value)) for key, value in entries}


def _refuse_another_device(device: str, name: str, compiled: Any) -> None:
    used = compiled.get_property("EXECUTION_DEVICES")
    if device != "AUTO" and {found.split(".")[0] for found in used} != {device}:
        raise InputError(f"{name} fell back to {', '.join(used)}: check the driver of the device.")


def _refuse_another_precision(name: str, configuration: Configuration, compiled: Any) -> None:
    """Refuse a silent fallback: OpenVINO computes in float32 if the CPU lacks the precision."""
    computed = _precision(_reported(compiled))
    if configuration.precision in SHORT_NAMES and computed not in (configuration.precision, None):
        raise InputError(
            f"{name} computes in {computed} here, not {configuration.precision}: the device does "
            f"not support it, or an option overrides it."
        )


def _facts(compiled: Any, configuration: Configuration) -> dict[str, str]:
    """Return the facts to record about the compiled model."""
    reported = _reported(compiled)
    return {
        "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
        "precision": _precision(reported) or configuration.precision,
        **{name: _text(reported[name]) for name in _REPORTED if name in reported},
    }


def _reported(compiled: Any) -> dict[str, Any]:
    """Return its properties. AUTO nests those of the device that it chose in one of its own."""
    wanted = (*_REPORTED, "INFERENCE_PRECISION_HINT", "DEVICE_PROPERTIES")
    supported = compiled.get_property("SUPPORTED_PROPERTIES")
    found = {name: compiled.get_property(name) for name in supported if name in wanted}
    inner = found.get("DEVICE_PROPERTIES")
    device = compiled.get_property("EXECUTION_DEVICES")[0]
    return found | inner[device] if isinstance(inner, Mapping) and device in inner else found


def _precision(properties: Mapping[str, Any]) -> str | None:
    """Return the precision in which it computes, bfloat16 included; None if it is not reported."""
    hint = properties.get("INFERENCE_PRECISION_HINT")
    names = {short: name for name, short in SHORT_NAMES.items()}
    return None if hint is None else names.get(hint.get_type_name(), hint.get_type_name())


def _text(value: Any) -> str:
    """Return a property in OpenVINO's spelling; the text of an enumeration would add its number."""
    return str(getattr(value, "name", value))


@contextmanager
def refusals(path: Path, name: str) -> Iterator[None]:
    """Raise OpenVINO's errors about a file on a target as `InputError`."""
    try:
        yield
    except (RuntimeError, UnicodeDecodeError) as error:
        # The last line is the reason; the lines before it are places in OpenVINO's source.
        raise InputError(f"{path} does not load on {name} ({line_of(error, -1)}).") from error


class _Stack(ctypes.Structure):
    """``stack_t`` of <signal.h>."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


# ``SS_DISABLE`` of <signal.h>: no alternate stack.
_DISABLED = 2


def use_own_signal_stack() -> None:
    """Let this thread handle signals on its own stack again, after it has compiled a model.

    OpenVINO's CPU plugin gives the compiling thread an alternate signal stack, and restores the
    former one when the model is freed. If two models are freed in the order of their creation, the
    second restores the stack of the first, which has been freed: the next Ctrl-C ends the process
    (seen with 2026.4.1). A model that finds no alternate stack restores none.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(None, _DISABLED, 0)), None)
