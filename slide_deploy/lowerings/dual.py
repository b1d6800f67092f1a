"""The dual form: neighbours are copied, and matrix products take the place of the convolutions.

    logit = sum_j W_k[., ., j]^T (q * k at tap j) + b_k^T q
    out   = sum_j (W_v[., ., j] a) * (v at tap j) + b_v a,      a = softmax(logit)

W[d, p, j] maps, per head, d features to K offsets for the keys and back for the values, as a 1x1
convolution. There is no depthwise convolution, and no tensor holds K copies of the map.
"""

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.maps import MapForm
from slide_deploy.lowerings.projection import constant_conv, per_head_kernels
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Dual(MapForm):
    """See the module's description."""

    any_map_size = False  # slices of open sizes end at minima, which converters do not know

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        heads = self.config.num_heads
        key, key_bias = per_head_kernels(folded, folded.key_conv)
        value, value_bias = per_head_kernels(folded, folded.value_conv)

        def product(matrix: Tensor) -> nn.Conv2d:
            """(head, outputs, inputs) as a 1x1 convolution, one group a head."""
            return constant_conv(matrix.flatten(0, 1)[:, :, None, None], groups=heads)

        # (head, d, offset, tap): keys sum over d, values over the offsets.
        self.key_taps = nn.ModuleList(product(tap.transpose(1, 2)) for tap in key.unbind(3))
        self.value_taps = nn.ModuleList(map(product, value.unbind(3)))
        self.key_bias = product(key_bias.transpose(1, 2))
        self.value_bias = product(value_bias)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, band: Band) -> Tensor:
        """See ``MapForm.attend``."""
        config, (height, width) = self.config, q.shape[2:]
        side, radius = config.kernel_size, config.kernel_size // 2
        zeros = (radius, radius, band.above, band.below)
        around_k, around_v = k, v
        if not band.beside:
            around_k, around_v = functional.pad(k, zeros), functional.pad(v, zeros)

        def at(maps: Tensor, tap: int) -> Tensor:
            row, column = divmod(tap, side)
            return maps[:, :, row : row + height, column : column + width]

        logits = self.key_bias(q)
        for tap, product in enumerate(self.key_taps):
            logits = logits + product(q * at(around_k, tap))
        # (batch * head, offset, positions)
        attention = logits.reshape(-1, config.offsets, height * width).softmax(dim=1)
        attention = attention.reshape(logits.shape)
        out = self.value_bias(attention)
        for tap, product in enumerate(self.value_taps):
            out = out + product(attention) * at(around_v, tap)
        return out
