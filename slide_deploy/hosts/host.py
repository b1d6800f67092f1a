"""The record of a host: a family of networks that contain slide attention."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.resize import any_size, same_tensors
from slide_deploy.models.host_network import HostNetwork


class Settings(Protocol):
    """All that determines a network's shapes and arithmetic: a frozen dataclass of plain values.

    The constructor raises ``InputError`` for inconsistent values. Folded files store the settings
    as JSON, with lists for tuples.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""

    @property
    def in_channels(self) -> int:
        """Number of channels of the image."""

    @property
    def num_classes(self) -> int:
        """Number of outputs of the classifier; 0 for a backbone."""

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""

    @property
    def num_heads(self) -> tuple[int, ...]:
        """Number of heads in each stage; 0 if unknown, as in a folded file."""

    def dim(self, stage: int) -> int:
        """Number of channels of a stage and of its feature map."""

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's feature map, in positions."""


@dataclass(frozen=True)
class Architecture:
    """A published size of a family.

    Attributes:
        name: name on the command line.
        config: settings, for images of the published size.
        parameters: number of parameters.
        gmacs: 10^9 multiply-adds of its convolutions, linear layers and attentions, with slide
            attentions folded; None if not counted.
        paper_parameters: number of parameters in the publication; empty if not published.
        paper_gflops: 10^9 multiply-adds in the publication; None if not published.
        file_gmacs: 10^9 multiply-adds of a written file, if its matmuls compute more than needed,
            such as logits of keys that a query does not attend to; None if equal to ``gmacs``.
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
"""Options that only some families support: fields of ``Overrides``, and their option names."""


def published_but_for(*more: str) -> Callable[[Any, Any], Any]:
    """Return a ``Host.published_as`` that replaces image size, class count and these settings."""
    names = ("image_size", "num_classes", *more)
    return lambda published, settings: replace(
        settings, **{name: getattr(published, name) for name in names}
    )


_same_network = published_but_for()


def _no_changes(trained: Any, config: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Host:
    """A family of networks, with everything that the other modules need to handle it.

    Tensors in a file have the names of the network's modules. Two names are fixed: the classifier
    is ``head``, and a folded attention has a ``key_conv``.

    Attributes:
        name: name of networks that have no published size, such as "slide_swin".
        finder: how networks of the family are found among the tensors of a file.
        settings: the settings dataclass; see ``Settings``.
        infer: returns the settings of training, from a file's shapes and stated settings, and
            remarks on them. Raises InputError if a setting cannot be inferred. LookupError and
            ArithmeticError are reported as an InputError by the caller.
        fits: whether the settings stated in a folded file agree with its shapes.
        build: builds the network from (settings, folded, features). With ``features`` it is a
            backbone, else a classifier.
        summary: one line about the settings, besides image size and classes.
        published: the published sizes, the smallest first.
        published_as: given the settings of a published size and others, returns the others with
            every setting that may differ within that size replaced.
        classifier_only: tensors before the head that a backbone's file may hold but does not use.
        resize: returns the settings that the user requests, from those of training. Raises
            InputError if they need an inexact change that the user did not choose.
        resize_tensors: returns the tensors for these settings, and the names of the interpolated
            ones.
        changes: other differences from training, as sentences without a full stop.
        plain: returns the settings of the same network without slide attention, a baseline in
            benchmarks; None if there is no such network.
        resizes: end of the sentence that reports interpolated position tables. Most networks
            compute another function then. Some interpolate in their original code too.
        options: names in ``OPTIONS`` that the family supports.
    """

    name: str
    finder: NamedNetworks
    settings: type
    infer: Callable[[StoredWeights, Overrides], tuple[Any, tuple[str, ...]]]
    fits: Callable[[StoredWeights, Any], bool]
    build: Callable[[Any, bool, bool], HostNetwork]
    summary: Callable[[Any], str]
    published: tuple[Architecture, ...] = ()
    published_as: Callable[[Any, Any], Any] = _same_network
    classifier_only: tuple[str, ...] = ("norm.weight", "norm.bias")
    resize: Callable[[Path, Any, Overrides], Any] = any_size
    resize_tensors: Callable[
        [Mapping[str, Tensor], Any, Any], tuple[dict[str, Tensor], tuple[str, ...]]
    ] = same_tensors
    changes: Callable[[Any, Any], tuple[str, ...]] = _no_changes
    plain: Callable[[Any], Any] | None = None
    resizes: str = "this is not the function that was trained"
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name in sentences, such as "Slide-Swin"."""
        return self.finder.family

    def architecture(self, settings: Any) -> str:
        """Return the published name of settings at any image size and class count, or ``name``."""
        for each in self.published:
            if self.published_as(each.config, settings) == each.config:
                return each.name
        return self.name
