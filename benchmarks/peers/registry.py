"""Which peers there are, and how one becomes a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.products import MatrixProducts, products_of
from benchmarks.peers.subject import Subject, as_if_trained
from benchmarks.peers.unfold import UnfoldAttention
from slide_deploy.backends import open_file
from slide_deploy.cases import verification_cases
from slide_deploy.deployable.module import deployable_of
from slide_deploy.errors import InputError
from slide_deploy.hosts.registry import host_of
from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from slide_deploy.precisions import FLOAT32
from slide_deploy.references.making import store_reference_of
from slide_deploy.surgery import replace_module
from slide_deploy.writing import draft_of

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


def _trained(subject: Subject) -> Built:
    """As it was trained, with branches where it has any."""
    return subject.branched(), (subject.example(),)


def _swin(subject: Subject) -> Built:
    """The same network without slide attention, as it was published: the same code base."""
    if isinstance(subject.config, SlideAttentionConfig):
        raise InputError("The peer swin is a whole network: give it an architecture.")
    host = host_of(subject.config)
    if host.plain is None:
        raise InputError(f"There is no {host.title} without slide attention: leave out the peer.")
    torch.manual_seed(0)
    plain = host.build(host.plain(subject.config), False, False)
    return as_if_trained(plain), (subject.example(),)


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
    Peer("branched", _trained),
    Peer("exported", _trained),  # the same, as a suite calls it where a network has no branches
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

    Its reference outputs stand beside it, so that it is proved as our files are before it is timed.

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
    deployable = deployable_of(model, inputs)
    cases = verification_cases(deployable.inputs)
    store_reference_of(path, open_file(path), deployable, cases, FLOAT32.name)
