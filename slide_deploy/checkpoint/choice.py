"""Choose one of the networks of a file, and the user's settings for reading it.

A training run stores several: the last weights, their average over the steps, the best so far. The
names on the path to each show which is an average (``averages``). If that does not decide and the
weights differ, the choice is left to the user, and the file is refused without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from slide_deploy.checkpoint.averages import (
    OPTIMISER,
    UnreadableAverage,
    averaged_by_framework,
    averaging_began,
    names_an_average,
)
from slide_deploy.checkpoint.entries import WRAPPERS
from slide_deploy.checkpoint.networks import NetworkFinder, StoredNetwork, some
from slide_deploy.errors import InputError

WeightChoice = Literal["auto", "averaged", "raw"]

_MOST_LISTED = 6


@dataclass(frozen=True)
class Overrides:
    """Settings that replace those of a checkpoint, or that it does not state.

    Attributes:
        weights: which of the file's weights to use.
        image_size: height and width in pixels; None for the size of training.
        window_size: largest side of an attention window, in positions; None for that of training.
        keep_windows: tile larger feature maps with the windows of training.
        resize_position_tables: interpolate position tables that do not fit.
        heads: number of heads in each stage, if the file does not state it.
        stripes: stripe width in each stage, if the file does not state it.
        entry: the network to use, if the file holds several.
        leave_out: beginnings of the names of tensors that are not part of the network.
    """

    weights: WeightChoice = "auto"
    image_size: tuple[int, int] | None = None
    window_size: int | None = None
    keep_windows: bool = False
    resize_position_tables: bool = False
    heads: tuple[int, ...] | None = None
    stripes: tuple[int, ...] | None = None
    entry: str | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The chosen network.

    Attributes:
        network: its tensors.
        averaged: whether they are averages over training.
        remarks: what was decided, and how, in words.
    """

    network: StoredNetwork
    averaged: bool
    remarks: tuple[str, ...]


def choose(
    path: Path,
    networks: Sequence[StoredNetwork],
    content: Any,
    finder: NetworkFinder,
    weights: WeightChoice = "auto",
    entry: str | None = None,
    unreadable: UnreadableAverage | None = None,
) -> Chosen:
    """Choose one of the networks of a file, and the user's settings for reading it.

    Args:
        path: the file, for messages.
        networks: all networks that it holds, at least one.
        content: the whole file, which shows the framework.
        finder: the kind of network that was looked for.
        weights: "averaged" or "raw"; "auto" prefers averaged ones.
        entry: the network that the user names, by its label in the error message.
        unreadable: averages that cannot be read, if the file has any.

    Raises:
        InputError: the requested network is not in the file, or several differ and the user names
            none.
    """
    if entry is not None:
        named = _named(path, networks, entry)
        averaged_one = _is_averaged(named, content)
        if weights not in ("auto", "averaged" if averaged_one else "raw"):
            raise InputError(
                f"{path}: --entry {entry} names {_KINDS[averaged_one]} weights, which contradicts "
                f"--weights {weights}: give one of the two."
            )
        return Chosen(named, averaged_one, _others(named, networks, content))
    candidates = [each for each in networks if not OPTIMISER & set(each.root)]
    if not candidates:
        raise InputError(
            f"{path} holds only the state of an optimiser ({_listed(networks)}): give the file "
            f"with the weights."
        )
    averages = [each for each in candidates if _is_averaged(each, content)]
    raw = [each for each in candidates if each not in averages]
    averaged = [each for each in averages if averaging_began(content, each.root)]
    early = [each for each in averages if each not in averaged]
    if weights == "averaged" and not averaged:
        raise InputError(f"{path} holds no averaged weights: leave out --weights averaged.")
    if weights == "raw" and not raw:
        raise InputError(f"{path} holds only averaged weights: leave out --weights raw.")
    if weights != "raw" and not averaged and unreadable is not None:
        raise InputError(
            f"{path} holds averaged weights under {unreadable.where}, {unreadable.what}, which "
            f"cannot be read: give --weights raw for the last weights, or save the averages as a "
            f"state dict."
        )
    wanted = averaged if averaged and weights != "raw" else raw or early
    network = _single(path, wanted)
    remarks = _others(network, networks, content)
    if early:
        remarks = (*remarks, f"averaging had not begun: {_listed(early)} holds its initial state")
    if averaged and network in averaged and raw:
        network, more = _completed(path, network, raw, finder)
        remarks = (*more, *remarks)
    return Chosen(network, network.root in {each.root for each in averaged}, remarks)


_KINDS = {True: "averaged", False: "raw"}


def leads_to(networks: Sequence[StoredNetwork], entry: str) -> list[StoredNetwork]:
    """The networks that a user's name fits: the one with this label, or all below it."""
    parts = [part for part in entry.strip().split(".") if part]
    bare = ".".join(part for part in parts if part not in WRAPPERS)
    below: list[StoredNetwork] = []
    for wanted in dict.fromkeys((".".join(parts), bare)):
        found = [each for each in networks if each.label == wanted]
        if not found and wanted:
            found = [each for each in networks if each.label.startswith(f"{wanted}.")]
        if len(found) == 1:
            return found
        below = below or found
    return below


def _named(path: Path, networks: Sequence[StoredNetwork], entry: str) -> StoredNetwork:
    found = leads_to(networks, entry)
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path}: --entry {entry} does not lead to a single network: give one of "
        f"{_listed(networks)}."
    )


def _is_averaged(network: StoredNetwork, content: Any) -> bool:
    """Whether the weights are an average over training."""
    by_framework = averaged_by_framework(content, network.root)
    return names_an_average(network.root) if by_framework is None else by_framework


def _single(path: Path, networks: Sequence[StoredNetwork]) -> StoredNetwork:
    """The first network, if all are equal.

    Raises:
        InputError: they differ.
    """
    first = networks[0]
    if all(_same(path, first, other) for other in networks[1:]):
        return first
    raise InputError(
        f"{path} holds {len(networks)} different networks ({_listed(networks)}): choose one, for "
        f"example with --entry {first.label or '.'}."
    )


def _same(path: Path, one: StoredNetwork, other: StoredNetwork) -> bool:
    if one.tensors.keys() != other.tensors.keys():
        return False
    if any(tensor.shape != other.tensors[name].shape for name, tensor in one.tensors.items()):
        return False
    return all(
        torch.equal(tensor.read(f"{path}: {name}"), other.tensors[name].read(f"{path}: {name}"))
        for name, tensor in one.tensors.items()
    )


def _completed(
    path: Path, network: StoredNetwork, raw: Sequence[StoredNetwork], finder: NetworkFinder
) -> tuple[StoredNetwork, tuple[str, ...]]:
    """Averaged weights, completed by the raw tensors that averages leave out.

    Averages may leave out tensors that are not trained, or that are derived from the settings.

    Raises:
        InputError: the averages are of another network than the raw weights, or lack other tensors.
    """
    whole = next((each for each in raw if network.tensors.keys() <= each.tensors.keys()), raw[0])
    lacking = [name for name in whole.tensors if name not in network.tensors]
    unlike = [
        name
        for name, tensor in network.tensors.items()
        if name not in whole.tensors or whole.tensors[name].shape != tensor.shape
    ]
    derived = [name for name in lacking if finder.derived(name)]
    frozen = [name for name in lacking if finder.frozen(name) and name not in derived]
    if unlike or len(frozen) + len(derived) < len(lacking):
        raise InputError(
            f"{path} holds {network.in_words}, which looks like an average of {whole.in_words} and "
            f"has other tensors: choose with --entry {network.label or '.'} or --entry "
            f"{whole.label or '.'}."
        )
    if not lacking:
        return network, ()
    tensors = {**network.tensors, **{name: whole.tensors[name] for name in lacking}}
    remark = f"not averaged and taken from {whole.in_words}: {some(frozen)}"
    return replace(network, tensors=tensors), ((remark,) if frozen else ())


def _others(
    network: StoredNetwork, networks: Sequence[StoredNetwork], content: Any
) -> tuple[str, ...]:
    """A remark on the networks that were not chosen; empty if there are none."""
    others = [
        f"{each.in_words} ({_KINDS[_is_averaged(each, content)]})"
        for each in networks
        if each.root != network.root
    ]
    if not others:
        return ()
    kind = _KINDS[_is_averaged(network, content)]
    more = f" and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
    listed = ", ".join(others[:_MOST_LISTED]) + more
    return (f"taken: {network.in_words} ({kind}); not taken: {listed}",)


def _listed(networks: Sequence[StoredNetwork]) -> str:
    more = f" and {len(networks) - _MOST_LISTED} more" if len(networks) > _MOST_LISTED else ""
    return ", ".join(each.label or "." for each in networks[:_MOST_LISTED]) + more
