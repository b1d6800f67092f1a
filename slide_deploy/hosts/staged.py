"""The settings that PVT, PVTv2, CSWin and NAT have in common, from a file and from the user."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.checkpoint.stated import Vocabulary
from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Architecture
from slide_deploy.hosts.shapes import Stages
from slide_deploy.models.staged import StagedConfig

Told = Callable[[StoredWeights], Mapping[str, Any]]

_PUBLISHED_SIZE = (224, 224)


def vocabulary(config: str, *kinds: str, unlike: Mapping[str, str] | None = None) -> Vocabulary:
    """What the training of a family calls its settings; see ``Vocabulary``."""
    return Vocabulary(
        config=config,
        kinds=kinds,
        shown={"DATA.IMG_SIZE": "image_size", "MODEL.NUM_CLASSES": "num_classes"},
        without_effect=frozenset(("MODEL.TYPE", "MODEL.NAME")),
        unlike=unlike or {},
    )


def plain(config: Any) -> Any:
    """The same settings without slide attention."""
    return replace(config, slide=(0,) * len(config.depths))


def common_settings(stages: Stages) -> dict[str, Any]:
    """What shapes tell of the settings of a ``StagedConfig``, but for the heads."""
    qkv = [block for stage in stages for block in stage if block.slide_kernel]
    hosts = [block for stage in stages for block in stage if not block.slide_kernel]
    biased = any("attn.qkv.bias" in block for block in qkv) or any(
        name in block for block in hosts for name in ("attn.q.bias", "attn.qkv.bias", "qkv.bias")
    )
    return {
        "num_classes": stages.shapes.get("head.weight", (0,))[0],
        "depths": stages.depths,
        "slide": stages.slide,
        "qkv_bias": biased,
    }


def fits_by(told: Told) -> Callable[[StoredWeights, Any], bool]:
    """Whether settings that a folded file states are those that its shapes tell."""
    return lambda stored, config: all(
        getattr(config, name) == value for name, value in told(stored).items()
    )


def heads_of(
    stages: Stages,
    dims: Sequence[int],
    wanted: Overrides,
    published: Sequence[Architecture],
    hosts: Sequence[int] = (),
) -> tuple[int, ...]:
    """The heads of each stage.

    A slide stage tells its own, by its position table or by the width of its branches. For the
    other stages a published size tells, if it has these widths, depths and heads. If there is none,
    all stages are taken to have heads of as many features. Without a slide stage the user tells.

    Args:
        stages: shapes of the blocks.
        dims: channels of each stage.
        wanted: with the heads that the user gives.
        published: the sizes of the family.
        hosts: what the host's own attention tells of each stage; 0 where it does not.

    Raises:
        InputError: if nothing tells them, or if the file and the user disagree.
    """
    told = [_told_heads(stage, dim) for stage, dim in zip(stages, dims, strict=True)]
    told = [one or other for one, other in zip(told, hosts or [0] * len(told), strict=True)]
    given = wanted.heads
    if given is not None:
        if len(given) != len(dims):
            raise InputError(
                f"{stages.path} has {len(dims)} stages and --heads names {len(given)}: give a "
                f"number for each."
            )
        if not _agree(told, given):
            raise InputError(
                f"{stages.path} has {_listed(told)} heads (0 where the file does not tell) and "
                f"--heads says {_listed(given)}: leave the option out."
            )
        return tuple(given)
    if all(told):
        return tuple(told)
    for each in published:
        config = each.config
        same = [config.dim(stage) for stage in range(len(config.depths))] == list(dims)
        if same and config.depths == stages.depths and _agree(told, config.num_heads):
            return tuple(config.num_heads)
    widths = {dim // heads for dim, heads in zip(dims, told, strict=True) if heads}
    if len(widths) == 1 and all(dim % min(widths) == 0 for dim in dims):
        return tuple(dim // min(widths) for dim in dims)
    raise InputError(
        f"{stages.path} does not tell how many heads its stages of {_listed(dims)} channels have: "
        f"give them with --heads, for example --heads {_listed([max(1, d // 32) for d in dims])}."
    )


def _agree(told: Sequence[int], heads: Sequence[int]) -> bool:
    """Whether these are the heads that a file tells, where it does; 0 stands where it does not."""
    return all(one in (0, other) for one, other in zip(told, heads, strict=True))


def _told_heads(stage: Sequence[Any], dim: int) -> int:
    for block in stage:
        table = block["attn.relative_position_bias_table"]
        if table and block.slide_kernel:
            return table[1]
        if block.head_dim:
            return dim // block.head_dim
    return 0


def stated_size(stored: StoredWeights) -> tuple[int, int] | None:
    """The image size that the file states; None where it states none."""
    match stored.stated.settings.get("image_size"):
        case int() as side:
            return side, side
        case [int() as height, int() as width]:
            return height, width
    return None


def image_size(
    stored: StoredWeights, wanted: Overrides, told: tuple[int, int] | None = None
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The size of the images in training, and remarks on it.

    Args:
        stored: what the file states.
        wanted: the user's word counts where the file has none.
        told: of the images that position tables were made for; None without tables.
    """
    stated = stated_size(stored)
    if told is not None:
        said = {} if stated is None else {"image_size": stated}
        return told, differences({"image_size": told}, said)
    if stated is not None:
        return stated, ()
    if wanted.image_size is not None:
        return wanted.image_size, ()
    height, width = _PUBLISHED_SIZE
    remark = (
        f"the file does not tell the image size: {height}x{width} is taken, as published; "
        f"--image-size gives another"
    )
    return _PUBLISHED_SIZE, (remark,)


def differences(told: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[str, ...]:
    """What the stored configuration says otherwise than the tensors, as remarks."""
    remarks = []
    for name, value in stated.items():
        said = tuple(value) if isinstance(value, list | tuple) else value
        if name in told and said != told[name]:
            remarks.append(
                f"the stored configuration says {name} {said}, the tensors say {told[name]}: the "
                f"tensors count"
            )
    return tuple(remarks)


def infer_by(
    settings: Callable[..., StagedConfig],
    told: Told,
    asked: Callable[[StoredWeights, Overrides], Mapping[str, Any]],
    size_of: Callable[[StoredWeights, Overrides], tuple[int, int] | None] = lambda *_: None,
) -> Callable[[StoredWeights, Overrides], tuple[Any, tuple[str, ...]]]:
    """How the settings of training are read: see ``Host.infer``.

    Args:
        settings: the dataclass.
        told: what shapes tell.
        asked: what they do not tell, with the user's help: heads, stripes.
        size_of: the images that position tables were made for; None without tables.
    """

    def infer(stored: StoredWeights, wanted: Overrides) -> tuple[Any, tuple[str, ...]]:
        known = told(stored)
        size, remarks = image_size(stored, wanted, size_of(stored, wanted))
        stated = {k: v for k, v in stored.stated.settings.items() if k != "image_size"}
        remarks = (*stored.stated.remarks, *differences(known, stated), *remarks)
        try:
            config = settings(image_size=size, **known, **asked(stored, wanted))
            _refuse_scale(config, stored)
            return config, remarks
        except InputError as error:
            text = str(error)
            raise InputError(text if str(stored.path) in text else f"{stored.path}: {text}") from (
                error
            )

    return infer


def _refuse_scale(config: StagedConfig, stored: StoredWeights) -> None:
    """Refuse a stated factor on the queries that is not the usual one, ``head_dim ** -0.5``."""
    said = stored.stated.settings.get("qk_scale")
    widths = [config.dim(stage) // heads for stage, heads in enumerate(config.num_heads)]
    if said and any(abs(said - width**-0.5) > 1e-6 for width in widths):
        raise InputError(
            f"{stored.path} says qk_scale {said}, and checkpoints of this family are read with the "
            f"usual factor only: name what builds the network with --model."
        )


def summary(config: StagedConfig) -> str:
    """What a user wants to know of the settings."""
    slide = " ".join(
        str(each) if isinstance(each, int) else f"({','.join(map(str, each))})"
        for each in config.slide
    )
    return f"depths {_listed(config.depths, ' ')}, slide {slide}"


def _listed(numbers: Sequence[int], between: str = ",") -> str:
    return between.join(map(str, numbers))
