"""A model of PyTorch on a device, ready to run."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import (
    Feeds,
    Port,
    Session,
    Stage,
    session_name,
    untimed,
)
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.files import line_of, refuse_options, refuse_precision, refuse_unusable
from slide_deploy.backends.inputs import random_arrays, sized
from slide_deploy.backends.torch.device import TorchDevice, full_name
from slide_deploy.backends.torch.model import SUFFIXES, Read, precisions, read
from slide_deploy.errors import InputError, MissingExtra


@dataclass(frozen=True)
class Ready:
    """A model on its device.

    Attributes:
        content: of the file.
        module: of the file, or what was compiled of it.
        inputs: as the configuration settles them.
    """

    content: Read
    module: Any
    inputs: tuple[Port, ...]


def open_on(device: TorchDevice, path: Path, configuration: Configuration, stage: Stage) -> Session:
    """Read a file, and compile it if the target says so.

    Raises:
        InputError: for a file or a configuration that cannot run there.
        MissingExtra: without torch.
    """
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
    ports = sized(path, content.inputs, configuration)
    if content.kind == "checkpoint":
        cast = str(_dtype(configuration)).removeprefix("torch.")
        ports = tuple(replace(port, dtype=cast) for port in ports)
    ready = Ready(content, content.module, ports)
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
                first = ModuleCalls(device, ready)
                first.bind(random_arrays(ready.inputs))
                first.run()
        except Exception as error:  # the compiler's errors have many types
            raise InputError(
                f"{path} does not compile on {device.target} ({line_of(error)})."
            ) from error
    return ready


class ModuleCalls:
    """Calls of a model with inputs of their own, and on CUDA with a stream of their own."""

    def __init__(self, device: TorchDevice, ready: Ready) -> None:
        import torch

        self._kind = device.kind
        self._ready = ready
        self._module = ready.module
        self._arguments: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        self._answer: Any = None
        self._queue = torch.cuda.Stream() if device.kind == "cuda" else None
        self.run = {"cuda": self._run_in_queue, "mps": self._run_and_wait}.get(
            device.kind, self._run
        )

    def bind(self, feeds: Feeds) -> None:
        """Place a tensor for each input, by its name, on the device."""
        placed = placed_on(self._kind, self._ready.inputs, feeds)
        self._arguments, self._named = self._ready.content.arguments(placed)
        if self._queue is not None:
            import torch

            # The inputs were copied in the current stream.
            self._queue.wait_stream(torch.cuda.current_stream())

    def read(self) -> list[np.ndarray]:
        """Every output of the last call, copied to the processor."""
        import torch
        from torch.utils._pytree import tree_leaves

        def array(value: Any) -> np.ndarray:
            if not isinstance(value, torch.Tensor):
                return np.asarray(value)
            told = value.float() if value.dtype == torch.bfloat16 else value
            return np.array(told.detach().cpu().numpy())

        return [array(value) for value in tree_leaves(self._answer)]

    def _run(self) -> None:
        import torch

        self._answer = None  # whose memory the next one may take
        with torch.inference_mode():
            self._answer = self._module(*self._arguments, **self._named)

    def _run_and_wait(self) -> None:
        import torch

        self._run()
        torch.mps.synchronize()  # all of the device: it has no streams that could be named

    def _run_in_queue(self) -> None:
        import torch

        assert self._queue is not None
        with torch.cuda.stream(self._queue):
            self._run()
        self._queue.synchronize()


def placed_on(kind: str, inputs: Sequence[Port], feeds: Feeds) -> list[Any]:
    """A tensor for each input, of its type, on a device."""
    import torch

    return [
        torch.from_numpy(np.array(feeds[port.name], order="C")).to(kind, getattr(torch, port.dtype))
        for port in inputs
    ]


def _set_up(device: TorchDevice, configuration: Configuration) -> None:
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
