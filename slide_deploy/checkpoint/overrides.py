"""The user's settings for reading a checkpoint."""

from dataclasses import dataclass

from slide_deploy.checkpoint.choice import WeightChoice


@dataclass(frozen=True)
class Overrides:
    """Settings that replace those of a checkpoint, or that it does not state.

    Attributes:
        weights: which of the file's weights to use.
        image_size: height and width in pixels; None for the size of training.
        window_size: largest side of an attention window, in positions; None for that of training.
        keep_windows: tile larger feature maps with the windows of training.
        resize_position_tables: interpolate position tables that do not fit.
        heads: number of heads in each stage, if the file does not state it.
        stripes: stripe width in each stage, if the file does not state it.
        entry: the network to use, if the file holds several.
        leave_out: beginnings of the names of tensors that are not part of the network.
    """

    weights: WeightChoice = "auto"
    image_size: tuple[int, int] | None = None
    window_size: int | None = None
    keep_windows: bool = False
    resize_position_tables: bool = False
    heads: tuple[int, ...] | None = None
    stripes: tuple[int, ...] | None = None
    entry: str | None = None
    leave_out: tuple[str, ...] = ()
