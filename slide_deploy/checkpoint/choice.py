"""Which network of a file is meant.

A training run keeps several: the last weights, their average over the steps, the best so far.
The names that lead to each tell which is an average; a few frameworks swap the two when they save.
Where this does not decide and the weights differ, nobody can know, and the file is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from slide_deploy.checkpoint.networks import Network
from slide_deploy.checkpoint.slide_swin_names import FROZEN
from slide_deploy.errors import InputError

WeightChoice = Literal["auto", "averaged", "raw"]

_AVERAGED = frozenset(
    ["ema", "averaged", "average", "avg", "averaging", "swa", "shadow", "polyak", "teacher"]
)
# State of an optimiser by the names of the weights that it belongs to.
OPTIMISER = frozenset(
    [
        "optimizer",
        "optimizers",
        "optimizer_state",
        "optimizer_states",
        "optim",
        "optimiser",
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "momentum",
        "momentum_buffer",
        "square_avg",
        "grad",
        "grads",
        "gradients",
        "fisher",
    ]
)


@dataclass(frozen=True)
class Chosen:
    """The network that is meant.

    Args:
        network: its tensors.
        averaged: whether they are averages over training.
        remarks: what there was to decide, and how it was decided.
    """

    network: Network
    averaged: bool
    remarks: tuple[str, ...]


def choose(
    path: Path,
    networks: Sequence[Network],
    content: Any,
    weights: WeightChoice = "auto",
    entry: str | None = None,
    unnamed: Mapping[tuple[str, ...], int] | None = None,
) -> Chosen:
    """Choose one of the networks of a file.

    Args:
        path: the file, for messages.
        networks: all that it holds, at least one.
        content: the whole file, which tells the framework.
        weights: "averaged" or "raw"; "auto" prefers averaged ones.
        entry: the network that the user names, as the list of a refusal calls it.
        unnamed: lists of tensors without names, and how many each has.

    Raises:
        InputError: if the network that was asked for is not there, or if several differ and nothing
            says which is meant.
    """
    if entry is not None:
        named = _named(path, networks, entry)
        return Chosen(named, _is_averaged(named, content), _others(named, networks, content))
    candidates = [each for each in networks if not OPTIMISER & set(each.root)]
    if not candidates:
        raise InputError(
            f"{path} holds the state of an optimiser only ({_listed(networks)}): name the file "
            f"with the weights."
        )
    averages = [each for each in candidates if _is_averaged(each, content)]
    raw = [each for each in candidates if each not in averages]
    averaged = [each for each in averages if _begun(path, each)]
    if weights == "averaged" and not averaged:
        raise InputError(f"{path} holds no averaged weights: leave out --weights averaged.")
    if weights == "raw" and not raw:
        raise InputError(f"{path} holds averaged weights only: leave out --weights raw.")
    if weights != "raw" and not averaged:
        _refuse_unnamed_averages(path, unnamed or {})
    meant = averaged if averaged and weights != "raw" else raw
    network = _the_one(path, meant, content)
    remarks = _others(network, networks, content)
    if averaged and network in averaged and raw:
        network, more = _completed(path, network, raw)
        remarks = (*more, *remarks)
    return Chosen(network, network.root in {each.root for each in averaged}, remarks)


def _named(path: Path, networks: Sequence[Network], entry: str) -> Network:
    wanted = entry.strip().strip(".")
    found = [each for each in networks if each.label == wanted]
    if not found and wanted:
        found = [each for each in networks if each.label.startswith(f"{wanted}.")]
    if len(found) != 1:
        what = "leads to no network" if not found else "leads to several networks"
        raise InputError(f"{path}: --entry {entry} {what}: it holds {_listed(networks)}.")
    return found[0]


def _is_averaged(network: Network, content: Any) -> bool:
    """Whether the weights are an average over training."""
    swapped = _swapped(content, network)
    if swapped is not None:
        return swapped
    words = {
        word.lower()
        for part in network.root
        if part not in OPTIMISER
        for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)
    }
    return bool(words & _AVERAGED)


def _swapped(content: Any, network: Network) -> bool | None:
    """Whether weights are averaged, in files of frameworks that swap the two when they save.

    None where the framework does not, or the weights are under neither of the two keys.
    """
    top = content if isinstance(content, dict) else {}
    key = network.root[0] if network.root else ""
    meta = top.get("meta")
    if isinstance(meta, dict) and "mmengine_version" in meta and "ema_state_dict" in top:
        # mmengine puts the averages under state_dict, so that a plain loader takes them.
        return {"state_dict": True, "ema_state_dict": False}.get(key)
    if "current_model_state" in top and "averaging_state" in top:
        # Lightning's WeightAveraging does the same and keeps the last weights apart.
        return {"state_dict": True, "current_model_state": False}.get(key)
    return None


def _begun(path: Path, network: Network) -> bool:
    """Whether averaging had begun when the file was saved; before, the average is the start."""
    counter = network.strangers.get("n_averaged")
    if counter is None or counter.tensor.count != 1:
        return True
    return bool(counter.tensor.read(f"{path}: n_averaged").item())


def _the_one(path: Path, meant: Sequence[Network], content: Any) -> Network:
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


def _same(path: Path, one: Network, other: Network) -> bool:
    if one.tensors.keys() != other.tensors.keys():
        return False
    if any(tensor.shape != other.tensors[name].shape for name, tensor in one.tensors.items()):
        return False
    return all(
        torch.equal(tensor.read(f"{path}: {name}"), other.tensors[name].read(f"{path}: {name}"))
        for name, tensor in one.tensors.items()
    )


def _completed(
    path: Path, network: Network, raw: Sequence[Network]
) -> tuple[Network, tuple[str, ...]]:
    """Averaged weights with what an average leaves out: the shift branch, which is not trained.

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
    if unlike or not all(FROZEN.fullmatch(name) for name in lacking):
        raise InputError(
            f"{path} holds {network.in_words}, which looks like an average of {whole.in_words} and "
            f"does not have the same tensors: give --entry {network.label or '.'} or --entry "
            f"{whole.label or '.'}."
        )
    if not lacking:
        return network, ()
    tensors = {**network.tensors, **{name: whole.tensors[name] for name in lacking}}
    remark = f"shift branches, which are not averaged, are taken from {whole.in_words}"
    return replace(network, tensors=tensors), (remark,)


def _refuse_unnamed_averages(path: Path, unnamed: Mapping[tuple[str, ...], int]) -> None:
    for root, count in unnamed.items():
        words = {word for part in root for word in re.findall(r"[a-z]+", part.lower())}
        if count > 1 and words & _AVERAGED and not OPTIMISER & set(root):
            raise InputError(
                f"{path} holds averaged weights without names under {'.'.join(root)}, which cannot "
                f"be told apart: give --weights raw for the last weights, or save the averages by "
                f"name."
            )


def _others(network: Network, networks: Sequence[Network], content: Any) -> tuple[str, ...]:
    """What was not taken, for the user to read."""
    kinds = {True: "averaged", False: "raw"}
    others = [
        f"{each.in_words} ({kinds[_is_averaged(each, content)]})"
        for each in networks
        if each.root != network.root
    ]
    if not others:
        return ()
    kind = kinds[_is_averaged(network, content)]
    return (f"taken: {network.in_words} ({kind}); not taken: {', '.join(others)}",)


def _listed(networks: Sequence[Network]) -> str:
    return ", ".join(each.label or "." for each in networks)
