"""Load a checkpoint, or a program of ``torch.export``, as a module with described inputs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Port
from slide_deploy.backends.native_messages import line_of
from slide_deploy.errors import InputError

_PROGRAM = ".pt2"
SUFFIXES = (".pth", ".pt", ".safetensors", _PROGRAM)


@dataclass(frozen=True)
class Read:
    """The content of a file, on its device.

    Attributes:
        module: takes the arguments that ``arguments`` returns.
        inputs: as the file describes them.
        outputs: their names, in the order of the module's flattened outputs.
        arguments: turns a flat list of tensors into positional and keyword arguments.
        kind: "checkpoint", as trained and in evaluation mode, or "program".
    """

    module: Any
    inputs: list[Port]
    outputs: tuple[str, ...]
    arguments: Callable[[list[Any]], tuple[tuple[Any, ...], dict[str, Any]]]
    kind: str


def precisions(path: Path) -> tuple[str, ...]:
    """Return the precisions in which a file can run. A program's types are part of its graph."""
    if path.suffix == _PROGRAM:
        return ("float32", "default")
    return ("float32", "float16", "bfloat16", "default")


def read(path: Path, device: str, dtype: Any) -> Read:
    """Read a file.

    Args:
        path: the file. A program may run code when it is loaded, so load only programs you trust.
        device: on which it will compute.
        dtype: of the weights and the inputs.

    Raises:
        InputError: if the file cannot be used.
    """
    if path.suffix == _PROGRAM:
        return _program(path, device)
    return _checkpoint(path, device, dtype)


def _checkpoint(path: Path, device: str, dtype: Any) -> Read:
    from slide_deploy.hosts import load_checkpoint

    checkpoint = load_checkpoint(path)
    image = Port("image", (None, 3, *checkpoint.config.image_size))
    module = checkpoint.model.to(device=device, dtype=dtype)
    return Read(module, [image], ("logits",), lambda tensors: (tuple(tensors), {}), "checkpoint")


def _program(path: Path, device: str) -> Read:
    import torch
    from torch.export.passes import move_to_device_pass

    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it logs a traceback in addition to the error that it raises
    try:
        program = torch.export.load(path)
    except Exception as error:  # each kind of damage raises another class
        raise InputError(
            f"{path} does not load as a program of torch.export ({line_of(error)}): save it again."
        ) from error
    finally:
        log.setLevel(level)
    if device != "cpu":
        program = move_to_device_pass(program, device)
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [_described(path, str(name), values.get(str(name))) for name in names]
    outputs = tuple(map(str, program.graph_signature.user_outputs))
    return Read(program.module(), inputs, outputs, program.call_spec.in_spec.unflatten, "program")


def _described(path: Path, name: str, value: Any) -> Port:
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(
            f"{path} takes {name}, which is not a tensor: export it with tensors only."
        )
    # An open dimension is a symbol, not a number.
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Port(name, shape, str(value.dtype).removeprefix("torch."))
