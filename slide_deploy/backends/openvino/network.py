"""A file compiled by OpenVINO, and the requests that run it."""

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
    Feeds,
    Port,
    Session,
    Stage,
    session_name,
    untimed,
)
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.files import line_of, refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.openvino.properties import (
    PRECISIONS,
    SHORT_NAMES,
    automatic_properties,
    properties_of,
)
from slide_deploy.backends.openvino.signal_stack import use_own_stack
from slide_deploy.errors import InputError, MissingExtra

SUFFIXES = (".xml", ".onnx")
# What the keys begin with that slide-deploy stores with a file.
_SECTION = "slide_deploy"
# What is recorded of a compiled model, as far as the device tells.
_REPORTED = (
    *("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING"),
    *("SCHEDULING_CORE_TYPE", "ENABLE_HYPER_THREADING", "EXECUTION_MODE_HINT", "PERF_COUNT"),
    "RUNTIME_REQUIREMENTS",
)


def version() -> str:
    """Of the library, without the build."""
    import openvino

    return str(openvino.__version__).split("-")[0]


def open_on(device: str, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read and compile a file.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without OpenVINO.
    """
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
    """What the target of a device is called."""
    return f"openvino:{device.lower()}"


@dataclass(frozen=True)
class OpenVINONetwork:
    """A compiled file.

    Attributes:
        compiled: model of OpenVINO.
        inputs: in its order.
        outputs: their names, in its order.
        metadata: what the exporter stored with the file, by key.
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
    """A file, compiled; ``extra`` properties come on top.

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
        use_own_stack()
    _refuse_another_device(device, name, compiled)
    _refuse_another_precision(name, configuration, compiled)
    outputs = tuple(port_name(*item) for item in enumerate(compiled.outputs))
    return OpenVINONetwork(compiled, ports, outputs, _metadata(model))


class Request:
    """Calls of a compiled file, through a request of its own that keeps the outputs."""

    def __init__(self, network: OpenVINONetwork) -> None:
        self._compiled = network.compiled
        self._inputs = network.inputs
        self.request: Any = network.compiled.create_infer_request()

    def bind(self, feeds: Feeds) -> None:
        """Hand over a tensor for each input, by its name."""
        import openvino

        for port, described in zip(self._compiled.inputs, self._inputs, strict=True):
            values = np.asarray(feeds[described.name], order="C")
            self.request.set_tensor(port, openvino.Tensor(values))

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self.request.infer(share_outputs=True)  # else it copies every output for Python

    def read(self) -> list[np.ndarray]:
        """Every output of the last call, copied."""
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
    """An input of a model; `InputError` where not even its rank is known."""
    name = port_name(index, port)
    element = port.get_element_type()
    # numpy has no bfloat16: OpenVINO would hand out int16 for it.
    dtype = BFLOAT16 if element.get_type_name() == "bf16" else element.to_dtype().name
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise InputError(f"Input {name} has no fixed rank: export the file with one.")
    sizes = (None if size.is_dynamic else size.get_length() for size in shape)
    return Port(name, tuple(sizes), dtype)


def port_name(index: int, port: Any) -> str:
    """What callers ask for; an input or an output may have several names, or none."""
    # Converters add numbers of their own.
    return min(port.get_names(), key=lambda name: (name.isdecimal(), name), default=str(index))


def _metadata(model: Any) -> dict[str, str]:
    """What slide-deploy stored with a file; its keys are a tree in OpenVINO."""
    if not model.has_rt_info([_SECTION]):
        return {}
    stored = model.get_rt_info([_SECTION]).value
    entries = stored.items() if isinstance(stored, dict) else ()
    return {f"{_SECTION}.{key}": str(getattr(value, "value", value)) for key, value in entries}


def _refuse_another_device(device: str, name: str, compiled: Any) -> None:
    used = compiled.get_property("EXECUTION_DEVICES")
    if device != "AUTO" and {found.split(".")[0] for found in used} != {device}:
        raise InputError(f"{name} fell back to {', '.join(used)}: check the device's driver.")


def _refuse_another_precision(name: str, configuration: Configuration, compiled: Any) -> None:
    """OpenVINO takes float32 where the processor lacks what was asked for, and says nothing."""
    computed = _precision(_told(compiled))
    if configuration.precision in SHORT_NAMES and computed not in (configuration.precision, None):
        raise InputError(
            f"{name} computes in {computed} here, not {configuration.precision}: the device does "
            f"not support it, or an option says otherwise."
        )


def _facts(compiled: Any, configuration: Configuration) -> dict[str, str]:
    """What the compiled model says of itself."""
    told = _told(compiled)
    return {
        "device": ", ".join(compiled.get_property("EXECUTION_DEVICES")),
        "precision": _precision(told) or configuration.precision,
        **{name: _text(told[name]) for name in _REPORTED if name in told},
    }


def _told(compiled: Any) -> dict[str, Any]:
    """Its properties; AUTO keeps those of the device that it chose in one of its own."""
    wanted = (*_REPORTED, "INFERENCE_PRECISION_HINT", "DEVICE_PROPERTIES")
    supported = compiled.get_property("SUPPORTED_PROPERTIES")
    told = {name: compiled.get_property(name) for name in supported if name in wanted}
    inner = told.get("DEVICE_PROPERTIES")
    device = compiled.get_property("EXECUTION_DEVICES")[0]
    return told | inner[device] if isinstance(inner, Mapping) and device in inner else told


def _precision(told: Mapping[str, Any]) -> str | None:
    """What it computes in, where it tells: bfloat16 too, which numpy does not know."""
    hint = told.get("INFERENCE_PRECISION_HINT")
    names = {short: name for name, short in SHORT_NAMES.items()}
    return None if hint is None else names.get(hint.get_type_name(), hint.get_type_name())


def _text(value: Any) -> str:
    """A property as OpenVINO spells it; its enumerations carry their number."""
    return str(getattr(value, "name", value))


@contextmanager
def refusals(path: Path, name: str) -> Iterator[None]:
    """Tell what OpenVINO refuses of a file on a target in one sentence."""
    try:
        yield
    except (
        RuntimeError,
        UnicodeDecodeError,
    ) as error:  # the reason comes last, after the places in its source
        raise InputError(f"{path} does not load on {name} ({line_of(error, -1)}).") from error
