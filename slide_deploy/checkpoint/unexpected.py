"""Unexpected tensors beside a network, and which of them may be left out."""

import re
from collections.abc import Iterable
from pathlib import Path

from slide_deploy.checkpoint.averages import OPTIMISER
from slide_deploy.checkpoint.entries import CheckpointEntry
from slide_deploy.checkpoint.networks import NetworkFinder, StoredNetwork, some
from slide_deploy.errors import InputError

_ADAPTERS = (
    "adapters ({name}), which are not merged into the weights: merge them in the program that "
    "trained them and save the state dict again"
)
# Low-rank adapters are often stored apart from the network that they change, so they are refused
# anywhere. The other words may also name parts of a larger model, such as a detector's scales.
_ANYWHERE = ((re.compile(r"(?:^|[._])(?:lora|dora|loha|lokr|hada|ia3)(?:[._]|$)"), _ADAPTERS),)
# Patterns of names below a network's root for weights in another form, with the message.
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
# Counters of profilers and batches, which any layer may have. Those of averaging and training are
# in _OWN_COUNTERS and are next to the network.
_COUNTERS = frozenset({"total_ops", "total_params", "num_batches_tracked"})
# Buffers that window attentions derive from their settings; files may leave them out.
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


def sort_unexpected(
    path: Path, network: StoredNetwork, finder: NetworkFinder, leave_out: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Decide on every unexpected tensor below a network's root.

    Losses, metrics, counters and constants of the preprocessing do not change the network's
    outputs. Any other tensor might, and is refused unless the user leaves it out.

    Args:
        path: the file, for messages.
        network: the network that was chosen.
        finder: the kind of the network.
        leave_out: beginnings of names that the user leaves out.

    Returns:
        The names that are left out: first all others, then constants of the preprocessing.

    Raises:
        InputError: a tensor is unknown.
    """
    channels = finder.channels(network)
    leave_out = tuple(filter(None, leave_out))
    left_out: list[str] = []
    constants: list[str] = []
    unknown: list[str] = []
    for name, entry in network.unexpected.items():
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
            f"{path} holds {some(unknown)}, which {finder.title} does not have, so it may be a "
            f"variant: if the outputs do not depend on them, give --leave-out "
            f"{unknown[0] if inside else first}."
        )
    return left_out, constants


def refuse_other_weights(path: Path, names: Iterable[str], beside: Iterable[str] = ()) -> None:
    """Refuse a file whose names show that its weights are stored in another form.

    ``beside`` are names of tensors outside the network, which may be adapters of it.

    Raises:
        InputError: a name does; the message says which.
    """
    kinds = [(name, _IN_THE_NETWORK) for name in names] + [(name, _ANYWHERE) for name in beside]
    for name, patterns in kinds:
        for pattern, sentence in patterns:
            if pattern.search(name):
                raise InputError(f"{path} holds {sentence.format(name=name)}.")


def grouped(network: StoredNetwork, names: Iterable[str]) -> str:
    """Summarise names in groups with counts, for a message.

    A group is named by the first part in which its path differs from that of the network.
    """
    groups: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        shared = len(parts) - len(below_network(network, name).split("."))
        counter = parts[-1] in _COUNTERS and len(parts) > shared + 1
        group = f"*.{parts[-1]}" if counter else ".".join(parts[: shared + 1])
        if len(parts) == shared + 1 and parts[-1].startswith("ema_"):
            group = ".".join((*parts[:shared], "ema_*"))
        groups[group] = groups.get(group, 0) + 1
    return ", ".join(
        group if count == 1 else f"{group} ({count})" for group, count in groups.items()
    )


def below_network(network: StoredNetwork, name: str) -> str:
    """A dotted name of the file from the first part in which it differs from the network's path."""
    parts = name.split(".")
    shared = 0
    while shared < len(network.root) and parts[shared : shared + 1] == [network.root[shared]]:
        shared += 1
    return ".".join(parts[shared:])


def is_preprocessing(name: str, entry: CheckpointEntry, channels: tuple[int, ...]) -> bool:
    """Whether a tensor has a name of preprocessing and one number, or one for each channel.

    Args:
        name: of the tensor.
        entry: the tensor.
        channels: number of channels of the image; empty if that is unknown.
    """
    first = name.partition(".")[0].lower()
    return bool(_PREPROCESSING.fullmatch(first)) and entry.tensor.count in (1, *channels)


def may_be_absent(name: str) -> bool:
    """Whether files may lack a buffer of this name: a counter, or derived from the settings."""
    return name.rpartition(".")[2] in (*_COUNTERS, *DERIVED)


def _is_known(name: str, entry: CheckpointEntry) -> bool:
    """Whether a tensor is a counter, is derived from settings, or is used by training alone."""
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
