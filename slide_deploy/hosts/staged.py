"""Infer the settings that PVT, PVTv2, CSWin and NAT have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.checkpoint.stated import Vocabulary
from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Architecture
from slide_deploy.hosts.shapes import Stages
from slide_deploy.models.staged import StagedConfig

ReadShapes = Callable[[StoredWeights], Mapping[str, Any]]

_PUBLISHED_SIZE = (224, 224)


def vocabulary(config: str, *kinds: str, unlike: Mapping[str, str] | None = None) -> Vocabulary:
    """Return the names of a family's settings in training configurations; see ``Vocabulary``."""
    return Vocabulary(
        config=config,
        kinds=kinds,
        shown={"DATA.IMG_SIZE": "image_size", "MODEL.NUM_CLASSES": "num_classes"},
        without_effect=frozenset(("MODEL.TYPE", "MODEL.NAME")),
        unlike=unlike or {},
    )


def plain(config: Any) -> Any:
    """Return the same settings without slide attention."""
    return replace(config, slide=(0,) * len(config.depths))


def slide(config: Any, stages: int = 2) -> Any:
    """Return the same settings with 3x3 slide attention in the first stages."""
    return replace(config, slide=(3,) * stages + (0,) * (len(config.depths) - stages))


def common_settings(stages: Stages) -> dict[str, Any]:
    """Read the settings of a ``StagedConfig`` from shapes, except the heads."""
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


def fits_by(from_shapes: ReadShapes) -> Callable[[StoredWeights, Any], bool]:
    """Return a ``Host.fits`` that compares settings with those read from shapes."""
    return lambda stored, config: all(
        getattr(config, name) == value for name, value in from_shapes(stored).items()
    )


def infer_heads(
    stages: Stages,
    dims: Sequence[int],
    overrides: Overrides,
    published: Sequence[Architecture],
    host_heads: Sequence[int] = (),
) -> tuple[int, ...]:
    """Infer the number of heads of each stage.

    The heads of a slide stage follow from its position table or the width of its branches. Those of
    other stages come from a published size with the same widths, depths and known heads. If there
    is none, all heads are assumed to have equally many features. If no stage has slide attention,
    the user must give the heads.

    Args:
        stages: shapes of the blocks.
        dims: number of channels of each stage.
        overrides: the user's options, with the heads.
        published: published sizes of the family.
        host_heads: number of heads of each stage according to the host's own attention; 0 if
            unknown.

    Raises:
        InputError: if the heads cannot be inferred, or if the file and the user disagree.
    """
    known = [_slide_heads(stage, dim) for stage, dim in zip(stages, dims, strict=True)]
    known = [one or other for one, other in zip(known, host_heads or [0] * len(known), strict=True)]
    given = overrides.heads
    if given is not None:
        if len(given) != len(dims):
            raise InputError(
                f"{stages.path} has {len(dims)} stages but --heads gives {len(given)} numbers: "
                f"give one for each stage."
            )
        if not _agree(known, given):
            raise InputError(
                f"{stages.path} has {_listed(known)} heads (0 for unknown) but --heads gives "
                f"{_listed(given)}: leave out --heads."
            )
        return tuple(given)
    if all(known):
        return tuple(known)
    for each in published:
        config = each.config
        same = [config.dim(stage) for stage in range(len(config.depths))] == list(dims)
        if same and config.depths == stages.depths and _agree(known, config.num_heads):
            return tuple(config.num_heads)
    widths = {dim // heads for dim, heads in zip(dims, known, strict=True) if heads}
    if len(widths) == 1 and all(dim % min(widths) == 0 for dim in dims):
        return tuple(dim // min(widths) for dim in dims)
    raise InputError(
        f"{stages.path} does not state the heads of its stages of {_listed(dims)} channels: give "
        f"them with --heads, for example --heads {_listed([max(1, d // 32) for d in dims])}."
    )


def _agree(known: Sequence[int], heads: Sequence[int]) -> bool:
    """Whether heads equal the known ones; 0 means unknown."""
    return all(one in (0, other) for one, other in zip(known, heads, strict=True))


def _slide_heads(stage: Sequence[Any], dim: int) -> int:
    for block in stage:
        table = block["attn.relative_position_bias_table"]
        if table and block.slide_kernel:
            return table[1]
        if block.head_dim:
            return dim // block.head_dim
    return 0


def stated_size(stored: StoredWeights) -> tuple[int, int] | None:
    """Return the image size that the file states, or None."""
    match stored.stated.settings.get("image_size"):
        case int() as side:
            return side, side
        case [int() as height, int() as width]:
            return height, width
    return None


def image_size(
    stored: StoredWeights, overrides: Overrides, from_tables: tuple[int, int] | None = None
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Infer the size of the training images, and remarks on it.

    Args:
        stored: the file's contents.
        overrides: the user's options. They count only if the file states no size.
        from_tables: image size that the position tables fit; None without tables.
    """
    stated = stated_size(stored)
    if from_tables is not None:
        settings = {} if stated is None else {"image_size": stated}
        return from_tables, differences({"image_size": from_tables}, settings)
    if stated is not None:
        return stated, ()
    if overrides.image_size is not None:
        return overrides.image_size, ()
    height, width = _PUBLISHED_SIZE
    remark = (
        f"the file does not state the image size: {height}x{width} is assumed, as published; "
        f"change it with --image-size"
    )
    return _PUBLISHED_SIZE, (remark,)


def differences(from_tensors: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[str, ...]:
    """Return remarks on settings in which the stored configuration contradicts the tensors."""
    remarks = []
    for name, value in stated.items():
        setting = tuple(value) if isinstance(value, list | tuple) else value
        if name in from_tensors and setting != from_tensors[name]:
            remarks.append(
                f"{name} is {setting} in the stored configuration but {from_tensors[name]} in the "
                f"tensors: the tensors are used"
            )
    return tuple(remarks)


def infer_by(
    settings: Callable[..., StagedConfig],
    from_shapes: ReadShapes,
    remaining: Callable[[StoredWeights, Overrides], Mapping[str, Any]],
    size_of: Callable[[StoredWeights, Overrides], tuple[int, int] | None] = lambda *_: None,
) -> Callable[[StoredWeights, Overrides], tuple[Any, tuple[str, ...]]]:
    """Return a ``Host.infer`` for networks of stages.

    Args:
        settings: the settings dataclass.
        from_shapes: reads the settings that follow from shapes.
        remaining: infers the other settings, heads and stripes, with the user's options.
        size_of: returns the image size that the position tables fit; None without tables.
    """

    def infer(stored: StoredWeights, overrides: Overrides) -> tuple[Any, tuple[str, ...]]:
        known = from_shapes(stored)
        size, remarks = image_size(stored, overrides, size_of(stored, overrides))
        stated = {k: v for k, v in stored.stated.settings.items() if k != "image_size"}
        remarks = (*stored.stated.remarks, *differences(known, stated), *remarks)
        try:
            config = settings(image_size=size, **known, **remaining(stored, overrides))
            _refuse_scale(config, stored)
            return config, remarks
        except InputError as error:
            text = str(error)
            raise InputError(text if str(stored.path) in text else f"{stored.path}: {text}") from (
                error
            )

    return infer


def _refuse_scale(config: StagedConfig, stored: StoredWeights) -> None:
    """Refuse a stated query scale other than ``head_dim ** -0.5``."""
    scale = stored.stated.settings.get("qk_scale")
    widths = [config.dim(stage) // heads for stage, heads in enumerate(config.num_heads)]
    if scale and any(abs(scale - width**-0.5) > 1e-6 for width in widths):
        raise InputError(
            f"{stored.path} states qk_scale {scale}, but checkpoints of this family are read with "
            f"the default scale only: name the function that builds the network with --model."
        )


def summary(config: StagedConfig) -> str:
    """Return one line about the settings, for the user."""
    slide = " ".join(
        str(each) if isinstance(each, int) else f"({','.join(map(str, each))})"
        for each in config.slide
    )
    return f"depths {_listed(config.depths, ' ')}, slide {slide}"


def _listed(numbers: Sequence[int], between: str = ",") -> str:
    return between.join(map(str, numbers))
