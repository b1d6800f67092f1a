"""The depthwise form: one depthwise convolution with K outputs a channel for k, and one for v.

    key = conv_k(k), value = conv_v(v)                        (batch, head * d * offset, H, W)
    logit = sum_d q * key,  out = sum_offset softmax(logit) * value

This is the canonical form, the one that "folded into a single depthwise convolution" describes.
"""

from torch import Tensor

from slide_deploy.lowerings.form import NchwForm, convolve
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Depthwise(NchwForm):
    """The depthwise form; the module's docstring has the formula."""

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        self.key_conv = folded.key_conv
        self.value_conv = folded.value_conv

    def attend(self, q: Tensor, k: Tensor, v: Tensor, strip: Strip) -> Tensor:
        """See ``NchwForm.attend``."""
        config = self.config
        positions = q.shape[2] * q.shape[3]
        # (batch * head, d, offset, positions)
        split = (-1, config.head_dim, config.offsets, positions)
        queries = q.reshape(-1, config.head_dim, 1, positions)
        keys = convolve(self.key_conv, k, strip).reshape(split)
        values = convolve(self.value_conv, v, strip).reshape(split)
        attention = (queries * keys).sum(dim=1, keepdim=True).softmax(dim=2)
        return (attention * values).sum(dim=2).reshape(q.shape)
