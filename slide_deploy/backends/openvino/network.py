"""A file compiled by OpenVINO, and the requests that run it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.record import Configuration, Tensor
from slide_deploy.backends.base import Loaded, Stage, untimed
from slide_deploy.backends.files import line_of, refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.inputs import Described, random_arrays, sized
from slide_deploy.backends.openvino.properties import (
    PRECISIONS,
    SHORT_NAMES,
    automatic_properties,
    properties_of,
)
from slide_deploy.errors import InputError, MissingExtra

SUFFIXES = (".xml", ".onnx")
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


def load(device: str, path: Path, configuration: Configuration, stage: Stage) -> Loaded:
    """Read and compile a file.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without OpenVINO.
    """
    compiled, tensors = compile_file(device, path, configuration, stage)
    return Loaded(
        new_stream=partial(new_request_call, compiled, tensors),
        inputs=tensors,
        runtime={"library": "openvino", "version": version(), **_facts(compiled, configuration)},
    )


def compile_file(
    device: str,
    path: Path,
    configuration: Configuration,
    stage: Stage = untimed,
    extra: Mapping[str, str] | None = None,
) -> tuple[Any, tuple[Tensor, ...]]:
    """A compiled model and its inputs; ``extra`` properties come on top.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without OpenVINO.
    """
    name = f"openvino:{device.lower()}"
    refuse_unusable(path, name, SUFFIXES)
    with stage("import"):
        if find_spec("openvino") is None:
            raise MissingExtra("openvino", "openvino")
        import openvino
    core = openvino.Core()
    properties = _properties(core, device, name, configuration) | dict(extra or {})
    with stage("read"), _refusals(path, name):
        model = core.read_model(path)
        tensors = sized(
            path, [_described(*item) for item in enumerate(model.inputs)], configuration
        )
        if model.is_dynamic():
            shapes = {
                port: openvino.PartialShape(list(tensor.shape))
                for port, tensor in zip(model.inputs, tensors, strict=True)
            }
            model.reshape(shapes)
    with stage("compile"), _refusals(path, name):
        compiled = core.compile_model(model, device, properties)
    _refuse_another_device(device, name, compiled)
    _refuse_another_precision(name, configuration, compiled)
    return compiled, tensors


def new_request(compiled: Any, tensors: Sequence[Tensor]) -> Any:
    """A request whose inputs are set once."""
    import openvino

    request = compiled.create_infer_request()
    arrays = random_arrays(tensors)
    for port, tensor in zip(compiled.inputs, tensors, strict=True):
        request.set_tensor(port, openvino.Tensor(arrays[tensor.name]))
    return request


def new_request_call(compiled: Any, tensors: Sequence[Tensor]) -> Callable[[], None]:
    """A call of a request of its own; OpenVINO keeps the outputs in the request."""
    request = new_request(compiled, tensors)

    def run() -> None:
        request.infer(share_outputs=True)  # else it copies every output for Python

    return run


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


def _described(index: int, port: Any) -> Described:
    names = port.get_names()
    name = port.get_any_name() if names else f"input {index}"
    element = port.get_element_type()
    # numpy has no bfloat16: OpenVINO would hand out int16 for it.
    dtype = "bfloat16" if element.get_type_name() == "bf16" else element.to_dtype().name
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise InputError(f"Input {name} has no fixed rank: export the file with one.")
    sizes = (None if size.is_dynamic else size.get_length() for size in shape)
    return Described(name, dtype, tuple(sizes))


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
def _refusals(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the reason comes last, after the places in its source
        raise InputError(f"{path} does not load on {name} ({line_of(error, -1)}).") from error
