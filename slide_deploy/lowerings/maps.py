"""Forms that work on maps, channels before rows: the layout of convolutions."""

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.projection import constant_conv, projections
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class MapForm(Form):
    """Projects q, k and v by 1x1 convolutions; a form says what happens between."""

    on_maps = True

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        convs = [
            constant_conv(weight[..., None, None], bias) for weight, bias in projections(folded)
        ]
        self.query, self.key, self.value = convs * 3 if len(convs) == 1 else convs

    def forward(self, rows: Tensor, strip: Strip) -> Tensor:
        """See ``Form.forward``."""
        key_map = self.key(rows)
        value_map = key_map if self.value is self.key else self.value(rows)
        if self.query is self.key:  # one projection serves as q, k and v: it is computed once
            query_map = _computed(key_map, strip)
        else:
            query_map = self.query(_computed(rows, strip))
        return self.attend(query_map, key_map, value_map, strip)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, strip: Strip) -> Tensor:
        """Attend.

        Args:
            q: (batch, C, rows of the strip, width), the queries.
            k: (batch, C, rows that the strip reads, width + 2 * ``strip.beside``), the keys.
            v: as ``k``, the values.
            strip: the rows.

        Returns:
            The shape of ``q``.
        """
        raise NotImplementedError


def _computed(maps: Tensor, strip: Strip) -> Tensor:
    """Of the positions that a strip reads those that it computes."""
    if strip.rows == strip.last - strip.first:
        return maps
    rows = maps[:, :, strip.inside]
    return rows[..., strip.beside : -strip.beside] if strip.beside else rows


def convolve(conv: nn.Module, maps: Tensor, strip: Strip) -> Tensor:
    """Convolve the rows of a strip: zeros stand in only for what is outside the map."""
    if strip.beside:  # nothing is outside
        assert isinstance(conv, nn.Conv2d)
        return functional.conv2d(maps, conv.weight, conv.bias, groups=conv.groups)
    if strip.is_whole:
        out: Tensor = conv(maps)
        return out
    assert isinstance(conv, nn.Conv2d)
    return functional.conv2d(
        functional.pad(maps, (0, 0, strip.above, strip.below)),
        conv.weight,
        conv.bias,
        padding=(0, int(conv.padding[1])),
        groups=conv.groups,
    )
