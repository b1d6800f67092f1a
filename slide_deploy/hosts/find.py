"""Find out which family's network a checkpoint holds."""

from dataclasses import dataclass, replace
from pathlib import Path

from slide_deploy.checkpoint.choice import Overrides, leads_to
from slide_deploy.checkpoint.entries import CheckpointEntry
from slide_deploy.checkpoint.entries import Path as Root
from slide_deploy.checkpoint.networks import StoredNetwork, some
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
class _Matches:
    """The networks of one family in a file, and the tensors outside of them."""

    host: Host
    networks: list[StoredNetwork]
    outside: list[CheckpointEntry]


def find_network(path: Path, overrides: Overrides | None = None) -> tuple[Host, StoredWeights]:
    """Find the network that a checkpoint holds.

    Every family searches the file for its own networks. Many families name their first layer
    alike, so several may match at the same place. The family that matches most tensors there wins.

    Args:
        path: a file, an index of shards or a folder.
        overrides: the user's options, such as the entry.

    Raises:
        InputError: if the checkpoint is missing or damaged, if it holds no matching network, or if
            it holds several and ``overrides`` does not choose one.
    """
    overrides = overrides or Overrides()
    opened = open_checkpoint(path)
    found = [_Matches(host, *host.finder.networks(opened.entries)) for host in known_hosts()]
    matches = _choose(opened, found, overrides.entry)
    finder = matches.host.finder
    return matches.host, weights_of(opened, finder, matches.networks, matches.outside, overrides)


def _choose(opened: OpenedCheckpoint, found: list[_Matches], entry: str | None) -> _Matches:
    """Choose the matches of one family.

    Raises:
        InputError: if no family matches, or if several do and ``entry`` does not choose one.
    """
    most: dict[Root, int] = {}
    for matches in found:
        for network in matches.networks:
            most[network.root] = max(most.get(network.root, 0), len(network.tensors))
    best = [
        replace(
            matches,
            networks=[each for each in matches.networks if len(each.tensors) == most[each.root]],
        )
        for matches in found
    ]
    remaining = [matches for matches in best if matches.networks]
    if not remaining:
        refuse_without_network(opened, _refuse_absent)
    if entry is not None:
        remaining = [each for each in remaining if leads_to(each.networks, entry)] or remaining
    if len(remaining) == 1:
        return remaining[0]
    places = [each.networks[0].in_words for each in remaining]
    listed = " and ".join(
        f"a {each.host.title} ({place})" for each, place in zip(remaining, places, strict=True)
    )
    label = remaining[0].networks[0].label or "."
    if len(set(places)) == len(places):
        advice = f"choose one with --entry, for example --entry {label}"
    else:
        advice = "name the function that builds your network with --model"
    raise InputError(f"{opened.path} holds {listed}: {advice}.")


def _refuse_absent(path: Path, names: list[str]) -> None:
    """Refuse a file with tensors of these names, which holds no network of any family.

    Raises:
        InputError: always, unless there are no names.
    """
    if names:
        titles = _or([f"a {host.title}" for host in known_hosts()])
        layers = _or(list(dict.fromkeys(host.finder.first_layer for host in known_hosts())))
        raise InputError(
            f"{path} is not {titles}: it has {some(sorted(names))} but no {layers}; list the known "
            f"networks with slide-deploy models, or name the function that builds yours with "
            f"--model."
        )


def _or(texts: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
