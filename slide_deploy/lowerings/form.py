"""What a form is: one way to write the attention of a strip of rows."""

from typing import ClassVar

from torch import Tensor, nn

from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Form(nn.Module):
    """The attention of a strip of rows, projections of q, k and v included.

    Args:
        folded: the layer to write; what it does not copy it shares.
    """

    # Whether it takes and gives maps, (batch, channels, rows, width), the layout of convolutions,
    # or (batch, rows, width, channels), that of matrix products.
    on_maps: ClassVar[bool]
    # Whether it can be written for maps whose height and width are open, in every format.
    any_map_size: ClassVar[bool] = True

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__()
        self.config = folded.config

    def forward(self, rows: Tensor, strip: Strip) -> Tensor:
        """Attend.

        Args:
            rows: the ``strip.last - strip.first`` rows that the strip reads, of ``dim`` channels.
            strip: which rows they are.

        Returns:
            The ``strip.rows`` rows of the strip, of ``inner_dim`` channels, laid out alike.
        """
        raise NotImplementedError
