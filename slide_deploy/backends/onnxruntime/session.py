"""A session of ONNX Runtime, whatever the provider.

Inputs and outputs are bound once for each stream, on the provider's device, so that a call copies
nothing and allocates as little as the runtime allows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Configuration, Tensor
from slide_deploy.backends.base import Loaded, Stage, Target
from slide_deploy.backends.files import line_of, refuse_precision, refuse_unusable
from slide_deploy.backends.inputs import Described, random_arrays, sized
from slide_deploy.backends.onnxruntime.options import provider_options, reported, session_options
from slide_deploy.backends.onnxruntime.profile import profile
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.errors import InputError, MissingExtra

_SUFFIXES = (".onnx",)
_TYPES = {
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


def target(provider: Provider) -> Target:
    """The target of a provider."""
    return Target(
        name=provider.target,
        suffixes=_SUFFIXES,
        find=provider.find,
        load=partial(load, provider),
        profile=partial(profile, partial(open_file, provider)) if provider.profiled else None,
        processor=provider.name == "cpu",
    )


def load(provider: Provider, path: Path, configuration: Configuration, stage: Stage) -> Loaded:
    """Read and compile a file. ONNX Runtime does both at once: one stage.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without ONNX Runtime.
    """
    refuse_unusable(path, provider.target, _SUFFIXES)
    with stage("import"):
        if find_spec("onnxruntime") is None:
            raise MissingExtra("onnxruntime", "onnx")
        import onnxruntime
    reason = provider.missing()
    if reason is not None:
        raise InputError(f"{provider.target} cannot run here: {reason}.")
    options = session_options(provider, configuration)
    with stage("compile"):
        session = open_session(provider, path, configuration, options)
    tensors = sized(path, _described(path, session), configuration)
    device_id = int(provider_options(provider, configuration).get("device_id", "0"))
    return Loaded(
        new_stream=partial(_new_stream, provider, session, tensors, device_id),
        inputs=tensors,
        runtime={
            "library": "onnxruntime",
            "version": onnxruntime.__version__,
            "device": provider.library_name,
            "precision": configuration.precision,
            **reported(options),
            **_placement(session),
            **session.get_provider_options().get(provider.library_name, {}),
        },
    )


def open_file(
    provider: Provider, path: Path, configuration: Configuration, prefix: Path
) -> tuple[Any, Callable[[], None]]:
    """A session that profiles itself into files that begin with ``prefix``, and a call of it."""
    refuse_unusable(path, provider.target, _SUFFIXES)
    options = session_options(provider, configuration)
    options.enable_profiling = True
    options.profile_file_prefix = str(prefix)
    session = open_session(provider, path, configuration, options)
    tensors = sized(path, _described(path, session), configuration)
    return session, _new_stream(provider, session, tensors, 0)


def open_session(provider: Provider, path: Path, configuration: Configuration, options: Any) -> Any:
    """A session that runs on the provider.

    Raises:
        InputError: if it does not: ONNX Runtime would go on with the CPU.
    """
    import onnxruntime

    remark = "it computes in the types that the file holds, so export the file in that precision"
    refuse_precision(provider.target, configuration.precision, provider.precisions, remark)
    if configuration.streams > 1 and not provider.concurrent:
        raise InputError(f"{provider.target} runs one call at a time: give --streams 1.")
    providers = [
        (provider.library_name, provider_options(provider, configuration)),
        *(provider.helpers(configuration) if provider.helpers else ()),
    ]
    if provider.name != "cpu":
        providers.append(("CPUExecutionProvider", {}))
    try:
        session = onnxruntime.InferenceSession(path, options, providers, enable_fallback=0)
    except Exception as error:  # onnxruntime has no base class for its own errors
        raise InputError(
            f"{path} does not load on {provider.target} ({line_of(error)})."
        ) from error
    session.disable_fallback()
    _refuse_fallback(provider, path, session)
    return session


def _refuse_fallback(provider: Provider, path: Path, session: Any) -> None:
    """Refuse numbers of the CPU under another name: no provider, or one that took no node."""
    active = session.get_providers()
    if provider.library_name not in active:
        raise InputError(
            f"{provider.target} fell back to {', '.join(active)}: {provider.library_name} did not "
            f"start, so check its driver and its libraries."
        )
    nodes = _nodes(session)
    if nodes and provider.library_name not in nodes:
        raise InputError(
            f"{path} runs on {', '.join(nodes)} alone: {provider.library_name} takes none of its "
            f"operators."
        )


def _nodes(session: Any) -> Counter[str]:
    """How many nodes each provider runs; empty where the release does not tell (below 1.24)."""
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    counts: Counter[str] = Counter()
    for part in tell() if tell else ():
        counts[part.ep_name] += len(part.get_nodes())
    return counts


def _placement(session: Any) -> dict[str, str]:
    told = ", ".join(f"{name} {count}" for name, count in _nodes(session).items())
    return {"providers": ", ".join(session.get_providers()), **({"nodes": told} if told else {})}


def _described(path: Path, session: Any) -> list[Described]:
    inputs = []
    for value in session.get_inputs():
        if value.type not in _TYPES:
            raise InputError(f"{path} takes {value.name} as {value.type}: expected tensors.")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        inputs.append(Described(value.name, _TYPES[value.type], shape))
    return inputs


def _new_stream(
    provider: Provider, session: Any, tensors: Sequence[Tensor], device_id: int
) -> Callable[[], None]:
    import onnxruntime

    binding = session.io_binding()
    for name, array in random_arrays(tensors).items():
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, provider.device, device_id)
        binding.bind_ortvalue_input(name, value)
    sizes = _open_sizes(session, tensors)
    for output in session.get_outputs():
        shape = [sizes.get(size, size) for size in output.shape]
        dtype = _TYPES.get(output.type, "")
        known = all(isinstance(size, int) for size in shape) and dtype not in ("", "bfloat16")
        if known and provider.device == "cpu":
            memory = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype).type)
            binding.bind_ortvalue_output(output.name, memory)
        else:  # the runtime takes memory of the device in each call, from its arena
            binding.bind_output(output.name, provider.device, device_id)
    binding.synchronize_inputs()

    def run() -> None:
        session.run_with_iobinding(binding)

    def run_and_wait() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run if provider.device == "cpu" else run_and_wait


def _open_sizes(session: Any, tensors: Sequence[Tensor]) -> dict[Any, int]:
    """Sizes of the dimensions that the file names, for example ``{"batch": 4}``."""
    sizes: dict[Any, int] = {}
    for value, tensor in zip(session.get_inputs(), tensors, strict=True):
        for name, size in zip(value.shape, tensor.shape, strict=True):
            if isinstance(name, str):
                sizes[name] = size
    return sizes
