"""The names of a Slide-Swin's tensors and settings, in the authors' training and elsewhere."""

import re
from collections.abc import Mapping

from slide_deploy.checkpoint.entries import Path
from slide_deploy.checkpoint.stated import Vocabulary
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.hosts.named_networks import NamedNetworks

_NAMES = re.compile(
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
_COMPONENTS = frozenset(
    {
        *("patch_embed", "proj", "norm", "weight", "bias", "absolute_pos_embed", "layers"),
        *("blocks", "norm1", "norm2", "mlp", "fc1", "fc2", "attn", "qkv", "dep_conv"),
        *("dep_conv1", "dep_conv2", "key_conv", "value_conv", "relative_position_bias_table"),
        *("relative_position_index", "attn_mask", "downsample", "reduction", "head", "fc"),
    }
)
_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")

# Buffers that the settings determine. Averages of parameters leave them out.
_DERIVED = re.compile(r"layers\.\d+\.blocks\.\d+\.(?:attn\.relative_position_index|attn_mask)")
_SHOWN = {
    "MODEL.NUM_CLASSES": "num_classes",
    "MODEL.SWIN.PATCH_SIZE": "patch_size",
    "MODEL.SWIN.IN_CHANS": "in_channels",
    "MODEL.SWIN.EMBED_DIM": "embed_dim",
    "MODEL.SWIN.DEPTHS": "depths",
    "MODEL.SWIN.NUM_HEADS": "num_heads",
    "MODEL.SWIN.MLP_RATIO": "mlp_ratio",
    "MODEL.SWIN.QKV_BIAS": "qkv_bias",
    "MODEL.SWIN.APE": "ape",
    "MODEL.SWIN.PATCH_NORM": "patch_norm",
    "MODEL.SLIDE.KA": "kernel_size",
    "MODEL.SLIDE.NUM_SLIDE_STAGES": "num_slide_stages",
    "MODEL.SWIN.WINDOW_SIZE": "window_size",
    "DATA.IMG_SIZE": "image_size",
}
# The names from the second line on belong to other networks of the authors. The training of
# Slide-Swin does not read them.
_WITHOUT_EFFECT = frozenset(
    f"MODEL.{name}"
    for name in (
        *("TYPE", "NAME", "RESUME", "DROP_RATE", "DROP_PATH_RATE", "LABEL_SMOOTHING"),
        *("PRETRAINED", "SWIN.QK_SCALE", "SWIN.PADDING_MODE", "SLIDE.PADDING_MODE"),
        *("SWIN.KA", "SWIN.DIM_REDUCTION", "SWIN.STAGES", "SWIN.STAGES_NUM", "SWIN.RPB"),
        *("SWIN.SHARE_DWC_KERNEL", "SWIN.SHARE_QKV", "SWIN.LR_FACTOR", "SWIN.DEPTHS_LR"),
        *("SWIN.FUSION_TYPE", "SWIN.STAGE_CFG", "SWIN.ATTN_DROP_RATE"),
    )
)


class SlideSwinNetworks(NamedNetworks):
    """Finds Slide-Swin networks in wrapped layers, and by the names of timm and mmpretrain."""

    def root_of(self, path: Path) -> Path | None:
        """See ``NamedNetworks``. A wrapper may insert a component before ``proj``."""
        if path[-2:] != ("proj", "weight"):
            return None
        for length in (3, 4):
            if path[-length:][:1] == ("patch_embed",):
                return path[:-length]
        return None

    def name_of(self, relative: Path) -> str | None:
        """See ``NamedNetworks``.

        A wrapper of a layer inserts a component before the names of its parameters. Inside stages
        and the patch embedding, components that no Slide-Swin has are therefore removed. Elsewhere
        another component means another module, such as a second classifier.
        """
        known = list(relative[:-1])
        if relative[0] in ("layers", "patch_embed"):
            known = [part for part in known if _is_component(part)]
        return super().name_of((*known, *relative[-1:]))

    def renamed(self, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """See ``NamedNetworks``.

        timm and mmpretrain call the classifier ``head.fc``. timm merges patches at the beginning of
        a stage, the authors at the end of the stage before.
        """
        merging = {int(found[1]) for found in map(_DOWNSAMPLE.fullmatch, tensors) if found}
        moved = bool(merging) and 0 not in merging
        result: dict[str, StoredTensor] = {}
        for name, tensor in tensors.items():
            found = _DOWNSAMPLE.fullmatch(name)
            if found and moved:
                name = f"layers.{int(found[1]) - 1}.downsample.{found[2]}"
            if name.startswith("head."):
                name = name.replace("head.fc.", "head.", 1)
            result[name] = tensor
        return result

    def with_classifier(
        self, tensors: Mapping[str, StoredTensor], beside: Mapping[str, StoredTensor]
    ) -> tuple[dict[str, StoredTensor], frozenset[str]]:
        """See ``NamedNetworks``. mmpretrain stores the classifier beside the backbone.

        A detector has normalisations of several stages and another kind of head, which is left.
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


def _is_component(part: str) -> bool:
    """Whether a component of a name is one of the architecture's own."""
    return part in _COMPONENTS or part.isdecimal() or bool(re.fullmatch(r"norm\d", part))


NETWORKS = SlideSwinNetworks(
    family="Slide-Swin",
    first_layer="patch_embed.proj",
    names=_NAMES,
    vocabulary=Vocabulary(
        config="SlideSwinConfig",
        kinds=("slide_swin", "swin"),
        shown=_SHOWN,
        without_effect=_WITHOUT_EFFECT,
        others=("MODEL.SWIN_HR", "MODEL.SWIN_LRVIT", "MODEL.PVD"),
    ),
    buffers=_DERIVED,
)
