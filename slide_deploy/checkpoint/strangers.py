"""Tensors that stand with a network and are not part of it: which of them may be left out."""

import re
from collections.abc import Iterable
from pathlib import Path

from slide_deploy.checkpoint.averages import OPTIMISER
from slide_deploy.checkpoint.entries import CheckpointEntry
from slide_deploy.checkpoint.networks import Sought, StoredNetwork, some
from slide_deploy.errors import InputError

_ADAPTERS = (
    "adapters ({name}), which are not merged into the weights: merge them in the program that "
    "trained them and save the state dict again"
)
# Low-rank adapters are stored apart from the network that they change. Other words may also name
# parts of a larger model, such as the scales of a detector's head.
_ANYWHERE = ((re.compile(r"(?:^|[._])(?:lora|dora|loha|lokr|hada|ia3)(?:[._]|$)"), _ADAPTERS),)
# Names below a network's root that show weights in another form, and what to do.
_IN_THE_NETWORK: tuple[tuple[re.Pattern[str], str], ...] = (
    *_ANYWHERE,
    (re.compile(r"(?:^|[._])(?:adapters?|adaptformer)(?:[._]|$)"), _ADAPTERS),
    (
        re.compile(r"parametrizations\.|\.(?:weight|bias)_(?:g|v|orig|mask|u)$"),
        "parametrised weights ({name}), which are computed from others: remove the parametrisation "
        "(or pruning) in the program that trained them and save the state dict again",
    ),
    (
        re.compile(r"(?:^|[._])flat_param(?:[._]|$)"),
        "flattened weights ({name}) of a sharded run: save a full state dict",
    ),
    (
        re.compile(
            r"(?:^|\.)(?:\w+_packed_params|_packed_params|zero_point|weight_scale|weight_scale_inv"
            r"|SCB|absmax|quant_map|quant_state|qweight|qzeros|scales)(?:\.|$)"
        ),
        "quantised weights ({name}): use the floating-point checkpoint that they were made from",
    ),
)
# Counts of a profiler or of batches, which stand beside any layer, and those of averaging and of
# training, which stand beside the network.
_COUNTERS = frozenset({"total_ops", "total_params", "num_batches_tracked"})
# Buffers that window attentions compute from their settings: files have them or not.
DERIVED = ("relative_position_index", "attn_mask")
_OWN_COUNTERS = frozenset(
    {"n_averaged", "num_updates", "decay", "step", "steps", "updates", "initted", "epoch"}
)
_TRAINING = re.compile(
    r"(?:train|val|valid|test)_\w+"
    r"|(?:\w+_)?(?:criterion|loss|losses|metrics?|acc|accuracy|auroc|auc|f1|confmat)(?:_fn|_fct)?"
)
_PREPROCESSING = re.compile(
    r"_?(?:pixel_|image_|img_|data_|input_)?(?:mean|std|var)"
    r"|(?:\w+_)?(?:normali[sz]er?|normali[sz]ation|preprocess|preprocessor|preprocessing)"
)


def sorted_out(
    path: Path, network: StoredNetwork, sought: Sought, leave_out: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Decide on every tensor that stands below a network's root and is not part of it.

    Losses, metrics, counters and constants of the preprocessing do not change what the network
    computes. Anything else may, and is refused unless the user says that it does not.

    Args:
        path: the file, for messages.
        network: the network that was chosen.
        sought: what it is.
        leave_out: beginnings of names that the user says are not part of the network.

    Returns:
        Names that are left out, apart from constants of the preprocessing, and the names of these.

    Raises:
        InputError: for what is unknown.
    """
    channels = sought.channels(network)
    leave_out = tuple(filter(None, leave_out))
    left_out: list[str] = []
    constants: list[str] = []
    unknown: list[str] = []
    for name, entry in network.strangers.items():
        if is_preprocessing(name, entry, channels):
            constants.append(name)
        elif _is_known(name, entry) or name.startswith(leave_out):
            left_out.append(name)
        else:
            unknown.append(name)
    if unknown:
        first = unknown[0].partition(".")[0]
        inside = any(name.partition(".")[0] == first for name in network.tensors)
        raise InputError(
            f"{path} holds {some(unknown)}, which {sought.title} does not have: is it a variant of "
            f"the model? If the answer does not depend on them, give --leave-out "
            f"{unknown[0] if inside else first}."
        )
    return left_out, constants


def refuse_other_weights(path: Path, names: Iterable[str], beside: Iterable[str] = ()) -> None:
    """Refuse a file whose names show that its weights are stored in another form.

    Args:
        path: the file, for messages.
        names: of the tensors of the network.
        beside: of other tensors, among which adapters of the network may stand.

    Raises:
        InputError: if a name does; the text says which.
    """
    kinds = [(name, _IN_THE_NETWORK) for name in names] + [(name, _ANYWHERE) for name in beside]
    for name, patterns in kinds:
        for pattern, sentence in patterns:
            if pattern.search(name):
                raise InputError(f"{path} holds {sentence.format(name=name)}.")


def grouped(network: StoredNetwork, names: Iterable[str]) -> str:
    """Names by what they belong to, with how many there are of each, for a sentence.

    A group is named by the first part in which its path leaves that of the network.

    Args:
        network: the network that they do not belong to.
        names: dotted, as the file has them.
    """
    groups: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        shared = len(parts) - len(below(network, name).split("."))
        counter = parts[-1] in _COUNTERS and len(parts) > shared + 1
        group = f"*.{parts[-1]}" if counter else ".".join(parts[: shared + 1])
        if len(parts) == shared + 1 and parts[-1].startswith("ema_"):
            group = ".".join((*parts[:shared], "ema_*"))
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(
        group if count == 1 else f"{group} ({count})" for group, count in groups.items()
    )


def below(network: StoredNetwork, name: str) -> str:
    """A dotted name of the file from the first part in which it leaves the network's path."""
    parts = name.split(".")
    shared = 0
    while shared < len(network.root) and parts[shared : shared + 1] == [network.root[shared]]:
        shared += 1
    return ".".join(parts[shared:])


def is_preprocessing(name: str, entry: CheckpointEntry, channels: tuple[int, ...]) -> bool:
    """Whether a tensor holds one number, or one a channel of the image, under a name that says so.

    Args:
        name: dotted, without what leads to the network.
        entry: the tensor.
        channels: of the image, as a shape.
    """
    first = name.partition(".")[0].lower()
    return bool(_PREPROCESSING.fullmatch(first)) and entry.tensor.count in (1, *channels)


def may_be_absent(name: str) -> bool:
    """Whether a file may lack a buffer of this name: it counts, or is computed from settings."""
    return name.rpartition(".")[2] in (*_COUNTERS, *DERIVED)


def _is_known(name: str, entry: CheckpointEntry) -> bool:
    """Whether a tensor counts something, is computed, or belongs to training alone."""
    parts = name.split(".")
    alone = len(parts) == 1
    counters = _COUNTERS | _OWN_COUNTERS if alone else _COUNTERS
    if (parts[-1] in counters and entry.tensor.count == 1) or parts[-1] in DERIVED:
        return True
    # mmcv flattens the names of its averaged weights: ema_patch_embed_proj_weight.
    if alone and name.startswith("ema_"):
        return True
    if parts[0] in OPTIMISER:
        return len(parts) > 2
    return bool(_TRAINING.fullmatch(parts[0].lower()))
