"""A folded attention in the place of another project's class, called and answering as that did."""

from typing import Any

from torch import nn

from slide_deploy.foreign.calls import Call
from slide_deploy.models.slide_attention import FoldedSlideAttention

# What a module of torch has for itself: nothing that the model around it would ask for.
_OWN = frozenset(vars(nn.Module()))


class HostedAttention(nn.Module):
    """Translates between a model and its folded attention.

    Args:
        folded: the attention; in the layout "tokens" unless the class took maps, channels first.
        call: how the class was called.
        replaced: the layer of that class; its plain attributes are kept, which the model may read
            or set.
    """

    def __init__(self, folded: FoldedSlideAttention, call: Call, replaced: nn.Module) -> None:
        super().__init__()
        for name, value in vars(replaced).items():
            if name not in _OWN and not hasattr(self, name):
                setattr(self, name, value)
        self.attention: nn.Module = folded
        self._call = call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Attend: takes and answers what the class did."""
        x, size = self._call.arguments(self, args, kwargs)
        if self._call.layout == "nchw":
            out = self.attention(x)[0]
        else:
            tokens = x.flatten(1, 2) if x.ndim == 4 else x
            out = self.attention(tokens, size).reshape(x.shape)
        length = self._call.length
        return out if length is None else (out, *[None] * (length - 1))
