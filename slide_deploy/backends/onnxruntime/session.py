"""A session of ONNX Runtime, with any execution provider.

Each stream binds its inputs and outputs once, on the provider's device, so that a call copies
nothing and allocates as little as the runtime allows.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import (
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
from slide_deploy.backends.onnxruntime.half_arithmetic import OTHER_FLOATS, file_in_float32
from slide_deploy.backends.onnxruntime.large_models import openable
from slide_deploy.backends.onnxruntime.options import (
    provider_options,
    reported,
    session_options,
)
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.refusals import refuse_precision, refuse_unusable
from slide_deploy.errors import InputError, MissingExtra

SUFFIXES = (".onnx",)
_UNOPTIMISED = {"graph_optimization_level": "ORT_DISABLE_ALL"}
_CPU = "CPUExecutionProvider"
# numpy's spelling of the types of inputs and outputs.
TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{
        f"tensor({name})": name
        for name in (
            *("float16", "bfloat16", "bool", "int8", "int16", "int32", "int64"),
            *("uint8", "uint16", "uint32", "uint64"),
        )
    },
}


def open_on(provider: Provider, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read and compile a file, which ONNX Runtime does in one stage; see `Target`."""
    refuse_unusable(path, provider.target, SUFFIXES)
    with stage("import"):
        require()
    reason = provider.missing()
    if reason is not None:
        raise InputError(f"{provider.target} cannot run here: {reason}.")
    name = session_name(provider.target, configuration.precision)
    try:
        return open_as(name, provider, path, configuration, stage)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} has a name or an entry that is no text: export the model again."
        ) from error


def open_exactly(
    provider: Provider, path: Path, configuration: Configuration, dtypes: Collection[str]
) -> Session:
    """Open a file without optimising its graph; see `Target`.

    All of it runs in float32 if it has no branches. A file in another type needs onnx.
    """
    refuse_unusable(path, provider.target, SUFFIXES)
    require()
    configuration = replace(configuration, options=_UNOPTIMISED)
    model = None if OTHER_FLOATS.keys().isdisjoint(dtypes) else file_in_float32(path)
    return open_as(session_name(provider.target), provider, path, configuration, model=model)


def require() -> None:
    """Import the library.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise MissingExtra("onnxruntime", "onnx")
    import onnxruntime  # noqa: F401


def open_as(
    name: str,
    provider: Provider,
    path: Path,
    configuration: Configuration,
    stage: Stage = untimed,
    model: Any = None,
) -> Session:
    """Open a file as a session with this name in tables; see `open_session`."""
    import onnxruntime

    options = session_options(provider, configuration)
    with stage("compile"):
        session = open_session(provider, path, configuration, options, model)
    outputs = tuple(output.name for output in session.get_outputs())
    if len({*outputs}) < len(outputs):
        raise InputError(f"{path} gives two outputs one name: give each a name of its own.")
    ports = ports_of(path, session, configuration)
    device_id = int(provider_options(provider, configuration).get("device_id", "0"))
    return Session(
        runtime=name,
        version=onnxruntime.__version__,
        inputs=ports,
        outputs=outputs,
        new_stream=partial(BoundStream, provider, session, ports, device_id),
        facts={
            "library": "onnxruntime",
            "version": onnxruntime.__version__,
            "device": provider.library_name,
            "precision": configuration.precision,
            **reported(options),
            **_placement(session),
            **session.get_provider_options().get(provider.library_name, {}),
        },
        metadata=session.get_modelmeta().custom_metadata_map,
    )


def open_session(
    provider: Provider,
    path: Path,
    configuration: Configuration,
    options: Any,
    model: Any = None,
) -> Any:
    """Return a session of the library that runs on the provider.

    Args:
        provider: that must run it.
        path: of the file.
        configuration: of the session.
        options: of the session.
        model: an ``onnx.ModelProto`` to run instead of the file. It may be changed.

    Raises:
        InputError: if the provider runs none of it. ONNX Runtime would silently use the CPU.
    """
    import onnxruntime

    refuse_precision(provider.target, configuration.precision, provider.precisions)
    if configuration.streams > 1 and not provider.concurrent:
        raise InputError(f"{provider.target} runs one call at a time: use --streams 1.")
    providers = [
        (provider.library_name, provider_options(provider, configuration)),
        *provider.helpers(configuration),
    ]
    if provider.library_name != _CPU:
        providers.append((_CPU, {}))
    try:
        with ExitStack() as stack:
            content: bytes | Path = path
            if model is not None:
                content = stack.enter_context(openable(model, path.parent, options))
            session = onnxruntime.InferenceSession(content, options, providers, enable_fallback=0)
    except Exception as error:  # onnxruntime has no base class for its own errors
        raise InputError(
            f"{path} does not load on {provider.target} ({line_of(error)})."
        ) from error
    session.disable_fallback()
    _refuse_fallback(provider, path, session)
    return session


def _refuse_fallback(provider: Provider, path: Path, session: Any) -> None:
    """Refuse to measure the CPU as another device: the provider is missing or took no node."""
    active = session.get_providers()
    if provider.library_name not in active:
        raise InputError(
            f"{provider.target} fell back to {', '.join(active)}: {provider.library_name} did not "
            f"start, so check its driver and its libraries."
        )
    nodes = _nodes(session)
    if nodes and provider.library_name not in nodes:
        raise InputError(
            f"{path} runs on {', '.join(nodes)} only: {provider.library_name} takes none of its "
            f"operators, so choose the target of another provider."
        )


def _nodes(session: Any) -> Counter[str]:
    """Return how many nodes each provider runs; empty for releases below 1.24, which lack it."""
    assignment = getattr(session, "get_provider_graph_assignment_info", None)
    counts: Counter[str] = Counter()
    for part in assignment() if assignment else ():
        counts[part.ep_name] += len(part.get_nodes())
    return counts


def _placement(session: Any) -> dict[str, str]:
    nodes = ", ".join(f"{name} {count}" for name, count in _nodes(session).items())
    return {"providers": ", ".join(session.get_providers()), **({"nodes": nodes} if nodes else {})}


def ports_of(path: Path, session: Any, configuration: Configuration) -> tuple[Port, ...]:
    """Return the inputs of a session of the library, with the sizes of the configuration.

    Raises:
        InputError: if an input is no tensor, or a size is not settled; see `sized`.
    """
    found = []
    for value in session.get_inputs():
        if value.type not in TYPES:
            raise InputError(
                f"{path} takes {value.name} as {value.type}: export it with tensors as inputs."
            )
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        found.append(Port(value.name, shape, TYPES[value.type]))
    return sized(path, found, configuration)


class BoundStream:
    """Calls of a session whose inputs and outputs are bound in advance.

    Args:
        provider: that runs the session.
        session: of ONNX Runtime.
        inputs: of the file, with the sizes that the configuration settles.
        device_id: of the provider's device.
    """

    def __init__(
        self, provider: Provider, session: Any, inputs: Sequence[Port], device_id: int
    ) -> None:
        self._session = session
        self._device, self._device_id = provider.device, device_id
        # The sizes of outputs are known only if those of all inputs are settled.
        self._is_settled = all(None not in port.shape for port in inputs)
        self._waits = provider.device != "cpu"
        self._binding: Any = None

    def bind(self, feeds: Feeds) -> None:
        """Set a tensor for each input, by name, and allocate the outputs."""
        import onnxruntime

        binding = self._session.io_binding()
        for name, array in feeds.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(
                np.asarray(array, order="C"), self._device, self._device_id
            )
            binding.bind_ortvalue_input(name, value)
        sizes = self._open_sizes(feeds)
        for output in self._session.get_outputs():
            shape = [sizes.get(size, size) for size in output.shape or ()]
            dtype = TYPES.get(output.type, "")
            known = (
                self._is_settled
                and all(isinstance(size, int) for size in shape)
                and dtype not in ("", "bfloat16")
            )
            if known and self._device == "cpu":
                memory = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                    shape, np.dtype(dtype).type
                )
                binding.bind_ortvalue_output(output.name, memory)
            else:  # the runtime allocates device memory from its arena in each call
                binding.bind_output(output.name, self._device, self._device_id)
        binding.synchronize_inputs()
        self._binding = binding

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self._session.run_with_iobinding(self._binding)
        if self._waits:
            self._binding.synchronize_outputs()

    def read(self) -> list[np.ndarray]:
        """Return copies of the last call's outputs in CPU memory."""
        return [np.array(output) for output in self._binding.copy_outputs_to_cpu()]

    def _open_sizes(self, feeds: Feeds) -> dict[Any, int]:
        """Return the sizes of the file's named dimensions, for example ``{"batch": 4}``."""
        sizes: dict[Any, int] = {}
        for value in self._session.get_inputs():
            for name, size in zip(value.shape, feeds[value.name].shape, strict=False):
                if isinstance(name, str):
                    sizes[name] = size
        return sizes
