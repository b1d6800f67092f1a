"""Which network of a file is meant.

A training run keeps several: the last weights, their average over the steps, the best so far.
The names that lead to each tell which is an average (``averages``).
Where this does not decide and the weights differ, nobody can know, and the file is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from slide_deploy.checkpoint.averages import (
    OPTIMISER,
    Hidden,
    begun,
    names_an_average,
    swapped,
)
from slide_deploy.checkpoint.entries import WRAPPERS
from slide_deploy.checkpoint.networks import Sought, StoredNetwork, some
from slide_deploy.errors import InputError

WeightChoice = Literal["auto", "averaged", "raw"]

_MOST_LISTED = 6


@dataclass(frozen=True)
class Chosen:
    """The network that is meant.

    Args:
        network: its tensors.
        averaged: whether they are averages over training.
        remarks: what there was to decide, and how it was decided.
    """

    network: StoredNetwork
    averaged: bool
    remarks: tuple[str, ...]


def choose(
    path: Path,
    networks: Sequence[StoredNetwork],
    content: Any,
    sought: Sought,
    weights: WeightChoice = "auto",
    entry: str | None = None,
    unreadable: Hidden | None = None,
) -> Chosen:
    """Choose one of the networks of a file.

    Args:
        path: the file, for messages.
        networks: all that it holds, at least one.
        content: the whole file, which tells the framework.
        sought: what the networks are.
        weights: "averaged" or "raw"; "auto" prefers averaged ones.
        entry: the network that the user names, as the list of a refusal calls it.
        unreadable: averages that are no network, where the file has such.

    Raises:
        InputError: if the network that was asked for is not there, or if several differ and nothing
            says which is meant.
    """
    if entry is not None:
        named = _named(path, networks, entry)
        averaged_one = _is_averaged(named, content)
        if weights not in ("auto", "averaged" if averaged_one else "raw"):
            raise InputError(
                f"{path}: --entry {entry} names {_KINDS[averaged_one]} weights and --weights asks "
                f"for {weights} ones: give either."
            )
        return Chosen(named, averaged_one, _others(named, networks, content))
    candidates = [each for each in networks if not OPTIMISER & set(each.root)]
    if not candidates:
        raise InputError(
            f"{path} holds the state of an optimiser only ({_listed(networks)}): name the file "
            f"with the weights."
        )
    averages = [each for each in candidates if _is_averaged(each, content)]
    raw = [each for each in candidates if each not in averages]
    averaged = [each for each in averages if begun(content, each.root)]
    early = [each for each in averages if each not in averaged]
    if weights == "averaged" and not averaged:
        raise InputError(f"{path} holds no averaged weights: leave out --weights averaged.")
    if weights == "raw" and not raw:
        raise InputError(f"{path} holds averaged weights only: leave out --weights raw.")
    if weights != "raw" and not averaged and unreadable is not None:
        raise InputError(
            f"{path} holds averaged weights under {unreadable.where}, {unreadable.what}, which "
            f"cannot be read: give --weights raw for the last weights, or save the averages by "
            f"name."
        )
    meant = averaged if averaged and weights != "raw" else raw or early
    network = _the_one(path, meant)
    remarks = _others(network, networks, content)
    if early:
        remarks = (*remarks, f"averaging had not begun: {_listed(early)} holds the start of it")
    if averaged and network in averaged and raw:
        network, more = _completed(path, network, raw, sought)
        remarks = (*more, *remarks)
    return Chosen(network, network.root in {each.root for each in averaged}, remarks)


_KINDS = {True: "averaged", False: "raw"}


def leads_to(networks: Sequence[StoredNetwork], entry: str) -> list[StoredNetwork]:
    """The networks that a user may mean by a name: one where it is exact, or all below it."""
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
        f"{path}: --entry {entry} does not lead to one network: it holds {_listed(networks)}."
    )


def _is_averaged(network: StoredNetwork, content: Any) -> bool:
    """Whether the weights are an average over training."""
    said = swapped(content, network.root)
    return names_an_average(network.root) if said is None else said


def _the_one(path: Path, meant: Sequence[StoredNetwork]) -> StoredNetwork:
    """The network that all of these are.

    Raises:
        InputError: if they differ.
    """
    first = meant[0]
    if all(_same(path, first, other) for other in meant[1:]):
        return first
    raise InputError(
        f"{path} holds {len(meant)} networks that differ ({_listed(meant)}) and nothing says which "
        f"is meant: give --entry {meant[0].label or '.'}, for example."
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
    path: Path, network: StoredNetwork, raw: Sequence[StoredNetwork], sought: Sought
) -> tuple[StoredNetwork, tuple[str, ...]]:
    """Averaged weights with what an average leaves out: what is not trained, or is computed.

    Raises:
        InputError: if they are of another network than the raw weights, or lack more than that.
    """
    whole = next((each for each in raw if network.tensors.keys() <= each.tensors.keys()), raw[0])
    lacking = [name for name in whole.tensors if name not in network.tensors]
    unlike = [
        name
        for name, tensor in network.tensors.items()
        if name not in whole.tensors or whole.tensors[name].shape != tensor.shape
    ]
    derived = [name for name in lacking if sought.derived(name)]
    frozen = [name for name in lacking if sought.frozen(name) and name not in derived]
    if unlike or len(frozen) + len(derived) < len(lacking):
        raise InputError(
            f"{path} holds {network.in_words}, which looks like an average of {whole.in_words} and "
            f"does not have the same tensors: give --entry {network.label or '.'} or --entry "
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
    """What was not taken, for the user to read."""
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
