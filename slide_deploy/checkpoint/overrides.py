"""What the user says of a checkpoint that the file does not."""

from dataclasses import dataclass

from slide_deploy.checkpoint.choice import WeightChoice


@dataclass(frozen=True)
class Overrides:
    """What the user supplies where the file cannot tell, or where he wants it otherwise.

    Args:
        weights: which of the file's weights to take.
        image_size: height and width in pixels; None for that of training.
        window_size: largest side of an attention window, in positions; None for that of training.
        keep_windows: tile larger maps with the windows of training.
        resize_position_tables: interpolate position tables that do not fit.
        heads: of each stage, where the file does not tell.
        stripes: widths of the stripes of each stage, where the file does not tell.
        entry: the network that is meant, where the file holds several.
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
