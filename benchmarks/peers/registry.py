"""Which peers there are, and how one becomes a file."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.products import MatrixProducts, products_of
from benchmarks.peers.subject import Subject, as_if_trained
from benchmarks.peers.unfold import UnfoldAttention
from slide_deploy.errors import InputError
from slide_deploy.models.slide_attention import SlideAttention
from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig
from slide_deploy.surgery import replace_module
from slide_deploy.writing import draft_of

# What Swin-T, -S and -B are published with.
SWIN_WINDOW = 7

Built = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True)
class Peer:
    """The same work in another form.

    Attributes:
        name: as a suite names it.
        build: the module and its inputs, of a subject.
    """

    name: str
    build: Callable[[Subject], Built]


def _branched(subject: Subject) -> Built:
    return subject.branched(), (subject.example(),)


def _swin(subject: Subject) -> Built:
    """No slide stage, windows of 7: the same code base, the same projections."""
    if not isinstance(subject.config, SlideSwinConfig):
        raise InputError("The peer swin is a whole network: give it an architecture.")
    config = replace(subject.config, num_slide_stages=0, window_size=SWIN_WINDOW)
    torch.manual_seed(0)
    return as_if_trained(SlideSwin(config)), (subject.example(),)


def _unfold(subject: Subject) -> Built:
    """Every slide attention through unfold."""
    model = subject.branched()
    for name, module in list(model.named_modules()):
        if isinstance(module, SlideAttention):
            gathered = as_if_trained(
                UnfoldAttention(module.config, module.layout, module.resolution)
            )
            model = replace_module(model, name, gathered)
    return model.eval(), (subject.example(),)


def _products(subject: Subject) -> Built:
    module = MatrixProducts(products_of(subject.branched(), subject.example()))
    return module.eval(), tuple(map(torch.zeros, module.shapes))


PEERS = (
    Peer("branched", _branched),
    Peer("swin", _swin),
    Peer("unfold", _unfold),
    Peer("products", _products),
)


def peer_named(name: str) -> Peer:
    """A peer by its name.

    Raises:
        InputError: if there is none.
    """
    for peer in PEERS:
        if peer.name == name:
            return peer
    known = ", ".join(peer.name for peer in PEERS)
    raise InputError(f"There is no peer {name}: choose one of {known}.")


def write_peer(peer: Peer, subject: Subject, path: Path) -> None:
    """Write a peer as ``torch.onnx.export`` does it, without any help of ours.

    Args:
        peer: which.
        subject: of what.
        path: an ``.onnx`` file; OpenVINO reads it as well as ONNX Runtime.
    """
    model, inputs = peer.build(subject)
    program = torch.onnx.export(model, inputs, dynamo=True, verbose=False)
    assert program is not None
    with draft_of(path) as draft:
        program.save(str(draft), external_data=False)
