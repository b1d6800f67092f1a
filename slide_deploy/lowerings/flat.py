"""The flat form: as dual, on tokens, with rows padded so that a tap is one contiguous slice.

    a map of H rows of W tokens becomes H + 2r rows of P = W + 2r tokens, one behind the other;
    the neighbour at tap (dy, dx) of all tokens at once is the slice that starts at dy * P + dx

Everything stays in the layout of the matrix products, (tokens, channels): there is no transpose.
One kernel serves all heads, so that tokens and heads are rows of one product, (tokens * heads, d).
The tokens of the padding are computed too, and cut off at the end.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.projection import constant, per_head_kernels
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Flat(Form):
    """See the module's description.

    Raises:
        InputError: if the heads have kernels of their own.
    """

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        key, key_bias = per_head_kernels(folded, folded.key_conv)
        value, value_bias = per_head_kernels(folded, folded.value_conv)
        for each in (key, value, value_bias):
            if not torch.equal(each, each[:1].expand_as(each)):
                raise InputError(
                    "The heads of a slide attention have kernels of their own: choose another "
                    "lowering than flat."
                )
        # each (d, K) a tap, and back
        self.key_taps = nn.ParameterList(map(constant, key[0].unbind(2)))
        self.value_taps = nn.ParameterList(constant(tap.T) for tap in value[0].unbind(2))
        self.value_bias = constant(value_bias[0].T)
        self.project, self.widths = _project(folded, key_bias)

    def forward(self, rows: Tensor, band: Band) -> Tensor:
        """See ``Form.forward``."""
        config, width = self.config, rows.shape[2]
        radius = config.kernel_size // 2
        pitch = width + 2 * radius
        inside = slice(band.top - band.first, band.bottom - band.first)
        q, k, v, logits = self._split(self.project(rows))
        # One row more below: the last tap of the last row ends inside it.
        zeros = (0, 0, radius, radius, band.above, band.below + 1)
        k, v = (functional.pad(side, zeros).flatten(1, 2) for side in (k, v))
        # Queries stand at the beginning of their row; what follows them is padding.
        behind = (0, 0, 0, 2 * radius)
        q = functional.pad(q[:, inside], behind).flatten(1, 2)
        logits = functional.pad(logits[:, inside], behind).reshape(-1, config.offsets)
        tokens = band.rows * pitch
        per_head = (-1, config.head_dim)

        def at(side: Tensor, tap: int) -> Tensor:
            row, column = divmod(tap, config.kernel_size)
            return side[:, row * pitch + column : row * pitch + column + tokens]

        for tap, kernel in enumerate(self.key_taps):
            logits = torch.addmm(logits, (q * at(k, tap)).reshape(per_head), kernel)
        attention = logits.softmax(dim=1)
        shape = (-1, tokens, config.inner_dim)
        out = (attention @ self.value_bias).reshape(shape)
        for tap, kernel in enumerate(self.value_taps):
            out = out + (attention @ kernel).reshape(shape) * at(v, tap)
        out = out.reshape(-1, band.rows, pitch, config.inner_dim)
        return out[:, :, :width].flatten(1, 2)

    def _split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys, values and the logits of the key bias, each (batch, rows, width, ...)."""
        *parts, logits = projected.split(self.widths, dim=-1)
        q, k, v = parts * 3 if len(parts) == 1 else parts
        return q, k, v, logits


def _project(folded: FoldedSlideAttention, key_bias: Tensor) -> tuple[nn.Linear, list[int]]:
    """One projection to q, k, v and q^T b: the bias of the keys is linear in the input.

    Args:
        folded: the layer.
        key_bias: (head, d, offset).

    Returns:
        The projection and the widths of what it gives, one in the place of three where q, k and v
        are one.
    """
    config, dtype = folded.config, folded.qkv.weight.dtype
    parts = 1 if config.share_qkv else 3
    split = (config.num_heads, parts, config.head_dim)
    weight = folded.qkv.weight.detach().double().unflatten(0, split)
    bias = (
        folded.qkv.bias.detach().double().unflatten(0, split)
        if config.qkv_bias
        else weight.new_zeros(split)
    )
    # (head, offset, dim) and (head, offset)
    key_bias = key_bias.double()
    to_logits = torch.einsum("hdp,hdc->hpc", key_bias, weight[:, 0]).flatten(0, 1)
    logit_bias = torch.einsum("hdp,hd->hp", key_bias, bias[:, 0]).flatten()
    # (q|k|v, head, d)
    weights = [*weight.transpose(0, 1).flatten(1, 2), to_logits]
    biases = [*bias.transpose(0, 1).flatten(1, 2), logit_bias]
    widths = [len(each) for each in biases]
    project = nn.Linear(config.dim, sum(widths))
    project.weight = constant(torch.cat(weights).to(dtype))
    project.bias = constant(torch.cat(biases).to(dtype))
    return project, widths
