"""Which family's network a checkpoint holds."""

from dataclasses import dataclass, replace
from pathlib import Path

from slide_deploy.checkpoint.choice import leads_to
from slide_deploy.checkpoint.entries import CheckpointEntry
from slide_deploy.checkpoint.entries import Path as Root
from slide_deploy.checkpoint.networks import StoredNetwork, some
from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import (
    OpenedCheckpoint,
    StoredWeights,
    open_checkpoint,
    refuse_without_network,
    weights_of,
)
from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Host
from slide_deploy.hosts.registry import known_hosts


@dataclass(frozen=True)
class _Found:
    """What a family found in a file."""

    host: Host
    networks: list[StoredNetwork]
    outside: list[CheckpointEntry]


def find_network(path: Path, wanted: Overrides | None = None) -> tuple[Host, StoredWeights]:
    """Find the network that a checkpoint holds.

    Every family looks for its own. Where several find one at the same place, it is of the family
    that knows most of its tensors: first layers are called alike in many networks.

    Args:
        path: a file, an index of shards or a folder.
        wanted: which of the weights are meant.

    Raises:
        InputError: if the checkpoint is missing or damaged, holds no network or none that was asked
            for, or several of which nothing says which is meant.
    """
    wanted = wanted or Overrides()
    opened = open_checkpoint(path)
    found = [_Found(host, *host.finder.networks(opened.entries)) for host in known_hosts()]
    one = _the_one(opened, found, wanted.entry)
    return one.host, weights_of(opened, one.host.finder, one.networks, one.outside, wanted)


def _the_one(opened: OpenedCheckpoint, found: list[_Found], entry: str | None) -> _Found:
    """What the family found whose network is meant.

    Raises:
        InputError: if none found one, or if several did and the user does not say which is meant.
    """
    most: dict[Root, int] = {}
    for one in found:
        for network in one.networks:
            most[network.root] = max(most.get(network.root, 0), len(network.tensors))
    known_best = [
        replace(
            one, networks=[each for each in one.networks if len(each.tensors) == most[each.root]]
        )
        for one in found
    ]
    holding = [one for one in known_best if one.networks]
    if not holding:
        refuse_without_network(opened, _refuse_absent)
    if entry is not None:
        holding = [one for one in holding if leads_to(one.networks, entry)] or holding
    if len(holding) == 1:
        return holding[0]
    places = [one.networks[0].in_words for one in holding]
    listed = " and ".join(
        f"a {one.host.title} ({place})" for one, place in zip(holding, places, strict=True)
    )
    label = holding[0].networks[0].label or "."
    ways = [f"give --entry {label}, for example"] if len(set(places)) == len(places) else []
    ways = ways or ["name what builds your network with --model"]
    raise InputError(f"{opened.path} holds {listed} and nothing says which is meant: {ways[0]}.")


def _refuse_absent(path: Path, names: list[str]) -> None:
    """Say that a file with tensors of these names holds no network of any family.

    Raises:
        InputError: always, unless there is no name.
    """
    if names:
        titles = _or([f"a {host.title}" for host in known_hosts()])
        marks = _or(list(dict.fromkeys(host.finder.first_layer for host in known_hosts())))
        raise InputError(
            f"{path} is not {titles}: it has {some(sorted(names))} and no {marks}; see "
            f"slide-deploy models for what is known, or name what builds your network with --model."
        )


def _or(texts: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
