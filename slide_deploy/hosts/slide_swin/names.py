"""How the tensors of a Slide-Swin are called, in the authors' training and elsewhere."""

import re
from collections.abc import Mapping

from slide_deploy.checkpoint.entries import Path
from slide_deploy.checkpoint.stored_tensor import StoredTensor

NAMES = re.compile(
    r"patch_embed\.(?:proj|norm)\.(?:weight|bias)"
    r"|absolute_pos_embed"
    r"|layers\.\d{1,9}\.blocks\.\d{1,9}\."
    r"(?:(?:norm1|norm2|mlp\.fc1|mlp\.fc2|attn\.(?:qkv|proj|dep_conv[12]?|key_conv|value_conv))"
    r"\.(?:weight|bias)"
    r"|attn\.relative_position_bias_table|attn\.relative_position_index|attn_mask)"
    r"|layers\.\d{1,9}\.downsample\.(?:norm|reduction)\.(?:weight|bias)"
    r"|norm\d?\.(?:weight|bias)"
    r"|head\.(?:fc\.)?(?:weight|bias)"
)
_WORDS = frozenset(
    [
        "patch_embed",
        "proj",
        "norm",
        "weight",
        "bias",
        "absolute_pos_embed",
        "layers",
        "blocks",
        "norm1",
        "norm2",
        "mlp",
        "fc1",
        "fc2",
        "attn",
        "qkv",
        "dep_conv",
        "dep_conv1",
        "dep_conv2",
        "key_conv",
        "value_conv",
        "relative_position_bias_table",
        "relative_position_index",
        "attn_mask",
        "downsample",
        "reduction",
        "head",
        "fc",
    ]
)
_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")

DERIVED = re.compile(r"layers\.\d+\.blocks\.\d+\.(?:attn\.relative_position_index|attn_mask)")
"""Buffers that the settings tell; averages of parameters leave them out."""


def root_of(path: Path) -> Path | None:
    """What stands before the names of a network, if this path is its patch embedding's weight."""
    if path[-2:] != ("proj", "weight"):
        return None
    for back in (3, 4):  # one part may stand between, as wrappers put it
        if path[-back:][:1] == ("patch_embed",):
            return path[:-back]
    return None


def network_name(relative: Path) -> str | None:
    """The architecture's name of a tensor, from what stands behind the network's root.

    Whatever wraps a layer puts a part before the names of its parameters: inside stages and the
    patch embedding, parts that no network has are taken out. Elsewhere another part means another
    module, such as a second classifier. None where the tensor is not one of a Slide-Swin.

    Args:
        relative: parts of the name.
    """
    known = list(relative[:-1])
    if relative[0] in ("layers", "patch_embed"):
        known = [part for part in known if _is_word(part)]
    name = ".".join((*known, *relative[-1:]))
    return name if NAMES.fullmatch(name) else None


def _is_word(part: str) -> bool:
    """Whether a part of a name is one of the architecture's own."""
    return part in _WORDS or part.isdecimal() or bool(re.fullmatch(r"norm\d", part))


def renamed(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Give the authors' names to tensors that timm or mmpretrain names otherwise.

    timm calls the classifier ``head.fc``, and merges patches at the beginning of a stage where the
    authors do it at the end of the stage before.
    """
    merging = {int(found[1]) for found in map(_DOWNSAMPLE.fullmatch, tensors) if found}
    moved = bool(merging) and 0 not in merging
    result: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        found = _DOWNSAMPLE.fullmatch(name)
        if found and moved:
            name = f"layers.{int(found[1]) - 1}.downsample.{found[2]}"
        result[name.replace("head.fc.", "head.", 1) if name.startswith("head.") else name] = tensor
    return result


def with_classifier(
    tensors: Mapping[str, StoredTensor], beside: Mapping[str, StoredTensor]
) -> tuple[dict[str, StoredTensor], frozenset[str]]:
    """Add the classifier that a framework keeps beside its backbone, as mmpretrain does.

    A detector has normalisations for several stages and a head of another kind: nothing is added.

    Args:
        tensors: of the backbone, by the authors' names.
        beside: what stands where the backbone stands, by name.

    Returns:
        The tensors of the classifier's network, and the names of those that came from beside.
    """
    stages = [int(name.split(".")[1]) for name in tensors if name.startswith("layers.")]
    last = f"norm{max(stages, default=0)}."
    norms = {name.partition(".")[0] for name in tensors if re.match(r"norm\d?\.", name)}
    head = next((head for head in ("head.fc", "head") if f"{head}.weight" in beside), None)
    if head is None or "head.weight" in tensors or norms not in ({"norm"}, {last[:-1]}):
        return dict(tensors), frozenset()
    if len(beside[f"{head}.weight"].shape) != 2:
        return dict(tensors), frozenset()
    result = {
        name.replace(last, "norm.", 1) if name.startswith(last) else name: tensor
        for name, tensor in tensors.items()
    }
    taken = [name for name in (f"{head}.weight", f"{head}.bias") if name in beside]
    result |= {f"head.{name.rpartition('.')[2]}": beside[name] for name in taken}
    return result, frozenset(taken)
