"""The record of a host: a family of networks that carry slide attention."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.models.host_network import HostNetwork


class Settings(Protocol):
    """What fixes the shapes and the arithmetic of a network: a frozen dataclass of plain values.

    It refuses numbers that do not fit together with an ``InputError``. Folded files hold it as
    JSON; tuples are lists there.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""

    @property
    def in_channels(self) -> int:
        """Channels of the image."""

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier; 0 of a backbone without one."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage."""

    @property
    def num_heads(self) -> tuple[int, ...]:
        """Heads of each stage; 0 where a folded file does not tell."""

    def dim(self, stage: int) -> int:
        """Channels of a stage and of its feature map."""

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of the map of a stage, in positions."""


@dataclass(frozen=True)
class Architecture:
    """A published size of a family.

    Attributes:
        name: as users give it.
        config: its settings, for images of the published size.
        parameters: how many there are.
        gmacs: 10^9 multiply-adds of its convolutions, linear layers and attentions, the slide
            attentions folded; None where nobody counted them.
        paper_parameters: as published; empty where they are not.
        paper_gflops: 10^9 multiply-adds as published; None where they are not.
        file_gmacs: 10^9 multiply-adds of a file, where its products hold more than is asked for, as
            logits of keys that a query does not see; None where the file has those of ``gmacs``.
    """

    name: str
    config: Any
    parameters: int
    gmacs: float | None = None
    paper_parameters: str = ""
    paper_gflops: float | None = None
    file_gmacs: float | None = None


OPTIONS = {
    "window_size": "--window-size",
    "keep_windows": "--keep-windows",
    "resize_position_tables": "--resize-position-tables",
    "heads": "--heads",
    "stripes": "--stripes",
}
"""What the user may say of some families only: fields of ``Overrides``, and their options."""


def any_size(path: Path, trained: Any, wanted: Overrides) -> Any:
    """The settings at another image size, of a network that nothing ties to that of training.

    Raises:
        InputError: if the network does not take images of that size.
    """
    if wanted.image_size in (None, trained.image_size):
        return trained
    try:
        return replace(trained, image_size=wanted.image_size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _same_tensors(
    tensors: Mapping[str, Tensor], trained: Any, target: Any
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    return dict(tensors), ()


def _same_settings(published: Any, settings: Any) -> Any:
    """Settings with what may be other in a network of a published size."""
    return replace(settings, image_size=published.image_size, num_classes=published.num_classes)


def _nothing(*arguments: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Host:
    """A family: everything that the rest of the product asks of it.

    A file holds the network by the names of its modules, with two conventions: the classifier is
    called ``head``, and a folded attention has a ``key_conv``.

    Attributes:
        name: what networks of no published size are called: "slide_swin".
        finder: how its networks are found among the tensors of a file.
        settings: the dataclass, see ``Settings``.
        infer: the settings of training from the shapes of a file and what it states, and remarks on
            them. Raises InputError where they cannot be known; errors of looking up what is not
            there become one.
        fits: whether settings that a folded file states are those that its shapes tell.
        build: the network of some settings: folded or branched, a backbone or a classifier.
        published: the sizes, the smallest first.
        published_as: settings with what may be other in a published size taken from that.
        summary: what a user wants to know of the settings beside image size and classes.
        classifier_only: tensors in front of the head, which a backbone's file may have.
        resize: the settings as the user wants them, from those of training. Raises InputError where
            no exact way leads there and none was chosen.
        resize_tensors: tensors for these settings, and the names of those that are interpolated.
        changes: what else is not as in training, as sentences without a full stop.
        resizes: what the interpolation of position tables means, as the end of a sentence: most
            networks are others then, and some do it themselves whenever an image has another size.
        options: which of the options in ``OPTIONS`` mean something to it.
        plain: the settings of the same network without slide attention, which races in benchmarks;
            None where there is none.
    """

    name: str
    finder: NamedNetworks
    settings: type
    infer: Callable[[StoredWeights, Overrides], tuple[Any, tuple[str, ...]]]
    fits: Callable[[StoredWeights, Any], bool]
    build: Callable[[Any, bool, bool], HostNetwork]
    summary: Callable[[Any], str]
    published: tuple[Architecture, ...] = ()
    published_as: Callable[[Any, Any], Any] = _same_settings
    classifier_only: tuple[str, ...] = ("norm.weight", "norm.bias")
    resize: Callable[[Path, Any, Overrides], Any] = any_size
    resize_tensors: Callable[
        [Mapping[str, Tensor], Any, Any], tuple[dict[str, Tensor], tuple[str, ...]]
    ] = _same_tensors
    changes: Callable[[Any, Any], tuple[str, ...]] = _nothing
    plain: Callable[[Any], Any] | None = None
    resizes: str = "this is not the function that was trained"
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What sentences call it: "Slide-Swin"."""
        return self.finder.family

    def architecture(self, settings: Any) -> str:
        """The published name of some settings, for any image and classes, else ``name``."""
        for each in self.published:
            if self.published_as(each.config, settings) == each.config:
                return each.name
        return self.name
