"""The record of a network that is ready to be deployed, and where it came from."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.deployable.around import Around
from slide_deploy.deployable.inputs import Input, open_names
from slide_deploy.deployable.network import Network, NetworkCall
from slide_deploy.deployable.reasons import reason_of
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Origin:
    """Where a network came from: for messages, metadata and the manifest.

    Attributes:
        name: what messages call it: a checkpoint's path, the user's factory or a class.
        stem: what files that are written from it are called, without their suffix.
        sha256: of the checkpoint, or of the weights where there is none.
        architecture: its published name, or the class.
        summary: what it is, for the user to read, one line.
        remarks: what a user should know of how it was made, sentences without a full stop.
        facts: more for the manifest, plain data or dataclasses.
        metadata: more for the files, by key.
        settings: what a file of folded weights must hold beside them to be read back, by key.
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
    """A network, its interface and its origin.

    Attributes:
        model: in evaluation mode, float32, on the CPU; nobody else holds it.
        inputs: in the order in which ``call`` takes them.
        outputs: their names, in order.
        call: how ``model`` is called.
        origin: where it came from.
        sizes: of each open dimension, by name: further sizes at which files are proved.
        takes_images: whether its input is known to be a normalised image.
        normalisation: mean and deviation of each channel of the images in training, of pixels
            divided by 255; None where nobody says.
        around: what stands around ``model``; None for nothing.
    """

    model: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    call: NetworkCall
    origin: Origin
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    takes_images: bool = False
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    around: Around | None = None

    @property
    def open_names(self) -> tuple[str, ...]:
        """Names of the sizes that written files leave open."""
        return open_names(self.inputs)

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
        lines = (f"takes {taken}", f"gives {', '.join(self.outputs)}", *notes)
        return "\n  ".join((f"{self.origin.name}: {self.origin.summary}", *lines))

    def network(self, model: nn.Module | None = None) -> Network:
        """The model with flat ends.

        Args:
            model: one that is called alike, as the folded or the lowered one is; the model itself
                if left out.
        """
        return Network(self.model if model is None else model, self.call, self.around)

    def double(self) -> Network:
        """A copy with flat ends that computes in float64."""
        return self.network(copy.deepcopy(self.model)).double()


def resized(deployable: Deployable, sizes: Mapping[str, int]) -> Deployable:
    """A network whose example inputs have other sizes.

    Args:
        deployable: left as it is.
        sizes: of open dimensions, by their name.
    """
    inputs = tuple(each.resized(sizes) for each in deployable.inputs)
    return replace(deployable, inputs=inputs)


def run(network: nn.Module, inputs: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
    """What a network with flat ends gives for some inputs.

    Raises:
        InputError: if it cannot be run with them; the text is a clause with the reason.
    """
    try:
        with torch.no_grad():
            given: tuple[Tensor, ...] = network(*(torch.from_numpy(each) for each in inputs))
            return given
    except Exception as error:  # a user's network, any error
        raise InputError(reason_of(error)) from error
