"""Run a PyTorch model on a device."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from slide_deploy.backends.inputs import random_arrays, sized
from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.torch.device import TorchDevice, full_name
from slide_deploy.backends.torch.model import SUFFIXES, Read, precisions, read
from slide_deploy.errors import InputError, MissingExtra


@dataclass(frozen=True)
class Ready:
    """A model on its device.

    Attributes:
        content: of the file.
        module: the module of the file, compiled if the target compiles it.
        inputs: with the sizes and dtypes that the configuration settles.
    """

    content: Read
    module: Any
    inputs: tuple[Port, ...]


def open_on(device: TorchDevice, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read a file, and compile it if the target compiles; see `Target`."""
    ready = prepare(device, path, configuration, stage)
    import torch

    return Session(
        runtime=session_name(device.target, configuration.precision),
        version=torch.__version__,
        inputs=ready.inputs,
        outputs=ready.content.outputs,
        new_stream=partial(ModuleCalls, device, ready),
        facts={
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
    device: TorchDevice, path: Path, configuration: Configuration, stage: Stage = untimed
) -> Ready:
    """Load a model onto its device. A compiled model runs once, because torch compiles then.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without torch.
    """
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
    ports = sized(path, content.inputs, configuration)
    if content.kind == "checkpoint":
        cast = str(_dtype(configuration)).removeprefix("torch.")
        ports = tuple(replace(port, dtype=cast) for port in ports)
    ready = Ready(content, content.module, ports)
    if not device.compiled:
        return ready
    with stage("compile"):
        # A cached compilation would shorten the cold start.
        torch.compiler.config.force_disable_caches = True
        options: dict[str, Any] = dict(configuration.options)
        module = torch.compile(content.module, dynamic=False, **options)
        ready = replace(ready, module=module)
        try:  # torch compiles in the first call
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that the caches are disabled
                first = ModuleCalls(device, ready)
                first.bind(random_arrays(ready.inputs))
                first.run()
        except Exception as error:  # the compiler's errors have many types
            raise InputError(
                f"{path} does not compile on {device.target} ({line_of(error)})."
            ) from error
    return ready


class ModuleCalls:
    """Calls of a model with separate inputs and, on CUDA, a separate CUDA stream."""

    def __init__(self, device: TorchDevice, ready: Ready) -> None:
        import torch

        self._kind = device.kind
        self._ready = ready
        self._module = ready.module
        self._arguments: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        self._output: Any = None
        self._stream = torch.cuda.Stream() if device.kind == "cuda" else None
        self.run = {"cuda": self._run_in_stream, "mps": self._run_and_wait}.get(
            device.kind, self._run
        )

    def bind(self, feeds: Feeds) -> None:
        """Copy a tensor for each input, by name, to the device."""
        placed = placed_on(self._kind, self._ready.inputs, feeds)
        self._arguments, self._named = self._ready.content.arguments(placed)
        if self._stream is not None:
            import torch

            # The inputs were copied on the current stream.
            self._stream.wait_stream(torch.cuda.current_stream())

    def read(self) -> list[np.ndarray]:
        """Return copies of the last call's outputs in CPU memory."""
        import torch
        from torch.utils._pytree import tree_leaves

        def array(value: Any) -> np.ndarray:
            if not isinstance(value, torch.Tensor):
                return np.asarray(value)
            wide = value.float() if value.dtype == torch.bfloat16 else value
            return np.array(wide.detach().cpu().numpy())

        return [array(value) for value in tree_leaves(self._output)]

    def _run(self) -> None:
        import torch

        self._output = None  # frees memory that the next call can use
        with torch.inference_mode():
            self._output = self._module(*self._arguments, **self._named)

    def _run_and_wait(self) -> None:
        import torch

        self._run()
        torch.mps.synchronize()  # waits for the whole device, which exposes no streams

    def _run_in_stream(self) -> None:
        import torch

        assert self._stream is not None
        with torch.cuda.stream(self._stream):
            self._run()
        self._stream.synchronize()


def placed_on(kind: str, inputs: Sequence[Port], feeds: Feeds) -> list[Any]:
    """Return a tensor for each input, in its dtype, on a device."""
    import torch

    return [
        torch.from_numpy(np.array(feeds[port.name], order="C")).to(kind, getattr(torch, port.dtype))
        for port in inputs
    ]


def _set_up(device: TorchDevice, configuration: Configuration) -> None:
    """Make settings for the whole process, because PyTorch has none per model."""
    import torch

    torch.set_num_threads(configuration.threads)  # for each calling thread
    if device.kind == "cuda":
        torch.backends.cudnn.benchmark = (
            True  # tries all algorithms, as the target of ONNX Runtime does
        )
        if configuration.precision == "float32":
            # TF32 keeps 10 bits of each factor, and is the default for convolutions.
            backends: Any = torch.backends  # its annotations lack these attributes
            backends.cuda.matmul.fp32_precision = "ieee"
            backends.cudnn.conv.fp32_precision = "ieee"


def _dtype(configuration: Configuration) -> Any:
    """Return the torch dtype of the precision; the default of a checkpoint is float32."""
    import torch

    name = "float32" if configuration.precision == "default" else configuration.precision
    return getattr(torch, name)
