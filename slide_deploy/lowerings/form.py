"""The base classes of the forms: a form writes the attention of a strip of rows."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.lowerings.projection import constant_conv, projections
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Form(nn.Module):
    """The attention of a strip of rows, including the projections of q, k and v.

    Args:
        folded: the layer to write. The form shares the parameters that it does not copy.
    """

    # True if inputs and outputs are NCHW, (batch, channels, rows, width), as convolutions need
    # them; False if they are (batch, rows, width, channels), as matmuls need them.
    is_nchw: ClassVar[bool]
    # Whether every format can hold this form with an open height and width.
    any_map_size: ClassVar[bool] = True

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__()
        self.config = folded.config

    def forward(self, rows: Tensor, strip: Strip) -> Tensor:
        """Compute the attention of one strip.

        Args:
            rows: the ``strip.last - strip.first`` rows that the strip reads, with ``dim`` channels.
            strip: the position of these rows in the feature map.

        Returns:
            The ``strip.rows`` rows of the strip, with ``inner_dim`` channels, in the same layout.
        """
        raise NotImplementedError


class NchwForm(Form):
    """A form that computes in NCHW and projects q, k and v with 1x1 convolutions."""

    is_nchw = True

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        convs = [
            constant_conv(weight[..., None, None], bias) for weight, bias in projections(folded)
        ]
        self.query, self.key, self.value = convs * 3 if len(convs) == 1 else convs

    def forward(self, rows: Tensor, strip: Strip) -> Tensor:
        """See ``Form.forward``."""
        keys = self.key(rows)
        values = keys if self.value is self.key else self.value(rows)
        if self.query is self.key:  # one projection serves as q, k and v: it is computed once
            queries = _without_halo(keys, strip)
        else:
            queries = self.query(_without_halo(rows, strip))
        return self.attend(queries, keys, values, strip)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, strip: Strip) -> Tensor:
        """Compute the attention from its projections.

        Args:
            q: queries, (batch, C, rows of the strip, width).
            k: keys, (batch, C, rows that the strip reads, width + 2 * ``strip.beside``).
            v: values, with the shape of ``k``.
            strip: the position of the rows in the feature map.

        Returns:
            A tensor with the shape of ``q``.
        """
        raise NotImplementedError


def _without_halo(features: Tensor, strip: Strip) -> Tensor:
    """Select the positions that a strip computes from those that it reads."""
    if strip.rows == strip.last - strip.first:
        return features
    rows = features[:, :, strip.inside]
    return rows[..., strip.beside : -strip.beside] if strip.beside else rows


def convolve(conv: nn.Module, features: Tensor, strip: Strip) -> Tensor:
    """Convolve the rows of a strip, with zeros only where the kernel leaves the feature map."""
    if strip.beside:  # the feature map is padded already
        assert isinstance(conv, nn.Conv2d)
        return functional.conv2d(features, conv.weight, conv.bias, groups=conv.groups)
    if strip.is_whole:
        out: Tensor = conv(features)
        return out
    assert isinstance(conv, nn.Conv2d)
    return functional.conv2d(
        functional.pad(features, (0, 0, strip.above, strip.below)),
        conv.weight,
        conv.bias,
        padding=(0, int(conv.padding[1])),
        groups=conv.groups,
    )
