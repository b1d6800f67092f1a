"""A model of PyTorch on a device, ready to run."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.record import Configuration, Tensor
from slide_deploy.backends.base import Loaded, Stage, untimed
from slide_deploy.backends.files import line_of, refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.inputs import random_arrays, sized
from slide_deploy.backends.torch.device import Device, full_name
from slide_deploy.backends.torch.model import SUFFIXES, Read, precisions, read
from slide_deploy.errors import InputError, MissingExtra


@dataclass(frozen=True)
class Ready:
    """A model on its device.

    Attributes:
        content: of the file.
        module: of the file, or what was compiled of it.
        tensors: its inputs.
    """

    content: Read
    module: Any
    tensors: tuple[Tensor, ...]


def load(device: Device, path: Path, configuration: Configuration, stage: Stage) -> Loaded:
    """Read a file, and compile it if the target says so.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without torch.
    """
    ready = prepare(device, path, configuration, stage)
    import torch

    return Loaded(
        new_stream=partial(new_stream, device, ready, configuration),
        inputs=ready.tensors,
        runtime={
            "library": "torch",
            "version": torch.__version__,
            "device": full_name(device.kind),
            "precision": configuration.precision,
            "file": ready.content.kind,
            "threads": str(torch.get_num_threads()),
            "compiled": str(configuration.options or "default") if device.compiled else "no",
            **({"cudnn": str(torch.backends.cudnn.version())} if device.kind == "cuda" else {}),
        },
    )


def prepare(
    device: Device, path: Path, configuration: Configuration, stage: Stage = untimed
) -> Ready:
    """A model on its device; a compiled one has run once."""
    refuse_unusable(path, device.target, SUFFIXES)
    with stage("import"):
        if find_spec("torch") is None:
            raise MissingExtra("torch", "onnx")
        import torch
    reason = device.missing()
    if reason is not None:
        raise InputError(f"{device.target} cannot run here: {reason}.")
    remark = "the types of a program are part of it, so export it in that precision"
    refuse_precision(device.target, configuration.precision, precisions(path), remark)
    known = ("backend", "mode") if device.compiled else ()
    refuse_options(device.target, configuration.options, known)
    _set_up(device, configuration)
    with stage("read"):
        content = read(path, device.kind, _dtype(configuration))
    tensors = sized(path, content.inputs, configuration)
    if content.kind == "checkpoint":
        cast = str(_dtype(configuration)).removeprefix("torch.")
        tensors = tuple(replace(tensor, dtype=cast) for tensor in tensors)
    ready = Ready(content, content.module, tensors)
    if not device.compiled:
        return ready
    with stage("compile"):
        # A compilation of yesterday would make the cold start look warm.
        torch.compiler.config.force_disable_caches = True
        options: dict[str, Any] = dict(configuration.options)
        module = torch.compile(content.module, dynamic=False, **options)
        ready = replace(ready, module=module)
        try:  # torch compiles in the first call
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of the caches that are off
                new_stream(device, ready, configuration)()
        except Exception as error:  # the compiler's errors have many types
            raise InputError(
                f"{path} does not compile on {device.target} ({line_of(error)})."
            ) from error
    return ready


def new_stream(device: Device, ready: Ready, configuration: Configuration) -> Callable[[], None]:
    """A call with inputs of its own, and on CUDA with a stream of its own."""
    import torch

    placed = inputs_on(device, ready.tensors)
    arguments, named = ready.content.arguments(placed)
    module = ready.module

    def run() -> None:
        with torch.inference_mode():
            module(*arguments, **named)

    if device.kind == "mps":

        def run_and_wait() -> None:
            run()
            torch.mps.synchronize()  # all of the device: it has no streams that could be named

        return run_and_wait
    if device.kind == "cuda":
        queue = torch.cuda.Stream()
        queue.wait_stream(torch.cuda.current_stream())  # the inputs were copied there

        def run_in_stream() -> None:
            with torch.cuda.stream(queue):
                run()
            queue.synchronize()

        return run_in_stream
    return run


def inputs_on(device: Device, tensors: Sequence[Tensor]) -> list[Any]:
    """The inputs, drawn and placed."""
    import torch

    drawable = [
        replace(tensor, dtype="float32") if tensor.dtype == "bfloat16" else tensor
        for tensor in tensors
    ]
    arrays = random_arrays(drawable)
    return [
        torch.from_numpy(arrays[tensor.name]).to(device.kind, getattr(torch, tensor.dtype))
        for tensor in tensors
    ]


def _set_up(device: Device, configuration: Configuration) -> None:
    """Settings of the process: PyTorch has none of one model."""
    import torch

    torch.set_num_threads(configuration.threads)  # each calling thread gets as many
    if device.kind == "cuda":
        torch.backends.cudnn.benchmark = True  # tries its algorithms, as ONNX Runtime's target does
        if configuration.precision == "float32":
            # TF32 keeps 10 bits of each factor; convolutions use it unless told not to.
            backends: Any = torch.backends  # whose annotations lag behind its attributes
            backends.cuda.matmul.fp32_precision = "ieee"
            backends.cudnn.conv.fp32_precision = "ieee"


def _dtype(configuration: Configuration) -> Any:
    """Checkpoints are read as float32: that is their default."""
    import torch

    name = "float32" if configuration.precision == "default" else configuration.precision
    return getattr(torch, name)
