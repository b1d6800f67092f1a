"""What a form is: one way to write the attention of a band of rows."""

from torch import Tensor, nn

from slide_deploy.lowerings.bands import Band
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Form(nn.Module):
    """The attention of a band of rows, projections of q, k and v included.

    Args:
        folded: the layer to write; what it does not copy it shares.
    """

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__()
        self.config = folded.config

    def forward(self, rows: Tensor, band: Band) -> Tensor:
        """Attend.

        Args:
            rows: (batch, ``band.last - band.first``, width, dim), the rows that the band reads.
            band: which rows they are.

        Returns:
            (batch, ``band.rows * width``, inner_dim).
        """
        raise NotImplementedError
