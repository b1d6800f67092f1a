"""Find out which weights of a file are averages over training, and whether averaging had begun."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from slide_deploy.checkpoint.entries import WRAPPERS, CheckpointEntry, Path
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unpickle import Placeholder

_WORDS = frozenset(
    {"ema", "averaged", "average", "avg", "averaging", "swa", "shadow", "polyak", "teacher"}
)
# With one of these words, a name is that of a metric or an optimiser, not of weights.
_FIGURES = frozenset(
    {
        *("acc", "accuracy", "loss", "metric", "metrics", "score", "iou", "map"),
        *("optimizer", "optimizers", "optimiser", "optim", "scheduler"),
    }
)
# Keys of optimiser state, which has the names of the weights.
OPTIMISER = frozenset(
    {
        *("optimizer", "optimizers", "optimizer_state", "optimizer_states", "optim", "optimiser"),
        *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum", "momentum_buffer", "square_avg"),
        *("grad", "grads", "gradients", "fisher"),
    }
)
# The number of averaged steps, as libraries store it beside the average.
_COUNTERS = ("n_averaged", "num_updates", "initted")


@dataclass(frozen=True)
class UnreadableAverage:
    """Averaged weights that cannot be read as a network.

    Attributes:
        where: the keys that lead to them.
        what: why they cannot be read, a phrase.
    """

    where: str
    what: str


def names_an_average(path: Iterable[str]) -> bool:
    """Whether a word in a path means that the weights there are averages."""
    for part in path:
        if part in OPTIMISER or re.match(r"(?:max_)?exp_avg|square_avg", part):
            continue
        found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", part)
        words = {word.lower() for word in found}
        if words & _WORDS and not words & _FIGURES:
            return True
    return False


def averaged_by_framework(content: Any, root: Path) -> bool | None:
    """Whether weights are averages, in whole files of frameworks that swap both kinds when saving.

    Returns:
        None if the framework does not swap, or if the weights are under neither of the two keys.
    """
    top = content if isinstance(content, dict) else {}
    key = root[0] if root else ""
    meta = top.get("meta")
    if isinstance(meta, dict) and "mmengine_version" in meta and "ema_state_dict" in top:
        # mmengine stores the averages under state_dict, so that a plain loader reads them.
        return {"state_dict": True, "ema_state_dict": False}.get(key)
    if "current_model_state" in top and "averaging_state" in top:
        # Lightning's WeightAveraging does the same and stores the last weights separately.
        return {"state_dict": True, "current_model_state": False}.get(key)
    return None


def averaging_began(content: Any, root: Path) -> bool:
    """Whether averaging had begun when the file was saved.

    Until then the average is the initial state of the network.
    """
    if isinstance(content, dict) and averaged_by_framework(content, root):
        counter = _number(_entry(content.get("averaging_state"), "n_averaged"))
        return counter is None or counter > 0
    for mapping in _on_the_way(content, root):
        for name in _COUNTERS:
            if _number(_entry(mapping, name)) == 0:
                return False
    return True


def unreadable_average(
    outside: Iterable[CheckpointEntry], modules: Iterable[tuple[Path, str]], weights: int
) -> UnreadableAverage | None:
    """Find averaged weights that cannot be read as a network; None if there are none.

    Args:
        outside: tensors that belong to no network.
        modules: path and class of each pickled module.
        weights: number of elements of the network; averages have at least half as many.
    """
    for path, kind in modules:
        if names_an_average(path):
            return UnreadableAverage(".".join(path), f"as a pickled module ({kind})")
    counts: dict[str, int] = {}
    for entry in outside:
        if names_an_average(entry.path):
            place = _first_average(entry.path)
            counts[place] = counts.get(place, 0) + entry.tensor.count
    for place, count in counts.items():
        if 2 * count >= weights:
            return UnreadableAverage(place, "without the names of its tensors")
    return None


def _first_average(path: Path) -> str:
    """The keys up to the first one that names an average."""
    end = next(place for place, part in enumerate(path, 1) if names_an_average([part]))
    return ".".join(path[:end])


def _on_the_way(content: Any, root: Path) -> Iterator[Any]:
    """Yield the containers on a path, from the first one that names an average."""
    value, walked = content, 0
    while value is not None:
        if names_an_average(root[:walked]):
            yield value
        step = next(
            (
                (length, inner)
                for length in range(1, len(root) - walked + 1)
                if (inner := _entry(value, ".".join(root[walked : walked + length]))) is not None
            ),
            None,
        )
        if step is None:
            # A root does not include the keys of wrappers.
            value = next(
                (inner for name in WRAPPERS if (inner := _entry(value, name)) is not None), None
            )
        else:
            walked, value = walked + step[0], step[1]


def _entry(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, Placeholder):
        return {**value.attributes, **value.items}.get(name)
    if isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, StoredTensor) and value.count == 1 and value.load is not None:
        return float(value.read("a counter of averaging").item())
    return float(value) if isinstance(value, bool | int | float) and abs(value) < 2**63 else None
