"""The record of a network that is ready to be deployed, and its provenance."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.network import Network, NetworkCall
from slide_deploy.deployable.processing import Processing
from slide_deploy.deployable.reasons import reason_of
from slide_deploy.errors import InputError

# What the outputs of a network that was read from a file are compared with.
FILE_TRUTH = "the input file on ONNX Runtime, in float32 and unoptimised"


@dataclass(frozen=True)
class Origin:
    """The provenance of a network, for messages, metadata and the manifest.

    Attributes:
        name: name in messages: a checkpoint's path, the user's factory or a class.
        stem: name of written files, without suffix.
        sha256: SHA-256 of the checkpoint, or of the weights without a checkpoint.
        architecture: published name, or the class.
        summary: one line that describes the network to the user.
        remarks: remarks for the user on how it was created, sentences without a full stop.
        facts: further entries of the manifest, plain data or dataclasses.
        metadata: further metadata of written files, by key.
        settings: metadata that a file of folded weights needs to be read back, by key.
    """

    name: str
    stem: str
    sha256: str
    architecture: str
    summary: str = ""
    remarks: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Deployable:
    """A network, its interface and its provenance.

    Attributes:
        model: module in evaluation mode, float32, on the CPU, not shared with the caller.
        inputs: inputs in the order of ``call``.
        outputs: names of the outputs, in order.
        call: how ``model`` is called.
        origin: provenance of the network.
        sizes: further sizes of each open dimension, by name, at which files are verified.
        takes_images: whether the input is known to be a normalised image.
        normalisation: mean and standard deviation of each channel in training, for pixels divided
            by 255; None if unknown.
        processing: embedded processing before and after ``model``; None for none.
        reference: another module whose outputs are the true ones, called as ``model`` is: the file
            that the network was read from. None if ``model`` in float64 is.
        files: the files that ``reference`` reads, which must not be replaced.
    """

    model: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    call: NetworkCall
    origin: Origin
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    takes_images: bool = False
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    processing: Processing | None = None
    reference: nn.Module | None = None
    files: tuple[Path, ...] = ()

    @property
    def truth(self) -> str:
        """What the outputs of written files are compared with, for messages."""
        return "the trained model in float64" if self.reference is None else FILE_TRUTH

    @property
    def open_names(self) -> tuple[str, ...]:
        """Names of the open sizes of written files, each once, in the order of the inputs."""
        names = (name for each in self.inputs for _, name in sorted(each.open.items()))
        return tuple(dict.fromkeys(names))

    @property
    def examples(self) -> tuple[Tensor, ...]:
        """Example inputs as tensors."""
        return tuple(torch.from_numpy(each.example) for each in self.inputs)

    def __repr__(self) -> str:
        taken = ", ".join(
            f"{each.name} {'x'.join(map(str, each.shape))} {each.example.dtype}"
            for each in self.inputs
        )
        notes = (f"note: {remark}" for remark in self.origin.remarks)
        lines = (f"takes {taken}", f"outputs {', '.join(self.outputs)}", *notes)
        return "\n  ".join((f"{self.origin.name}: {self.origin.summary}", *lines))

    def network(self, model: nn.Module | None = None) -> Network:
        """Return the model with flat inputs and outputs.

        Args:
            model: another model with the same interface, such as the folded or the lowered one;
                default: the model itself.
        """
        return Network(self.model if model is None else model, self.call, self.processing)

    def double(self) -> Network:
        """Return a copy with flat inputs and outputs that computes in float64."""
        return self.network(copy.deepcopy(self.model)).double()


def resized(deployable: Deployable, sizes: Mapping[str, int]) -> Deployable:
    """Return a network whose example inputs have other open sizes, by name."""
    inputs = tuple(each.resized(sizes) for each in deployable.inputs)
    return replace(deployable, inputs=inputs)


def run(network: nn.Module, inputs: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    """Run a network with flat inputs and outputs.

    Raises:
        InputError: if it cannot be run. The message is a clause with the reason.
    """
    try:
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = network(*(torch.from_numpy(each) for each in inputs))
            return outputs
    except Exception as error:  # a user's network, any error
        raise InputError(reason_of(error)) from error
