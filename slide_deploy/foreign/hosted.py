"""A folded attention in the place of another project's class, called and answering as that did."""

from typing import Any

from torch import nn

from slide_deploy.foreign.calls import AttentionCall
from slide_deploy.models.slide_attention import FoldedSlideAttention

# What a module of torch has for itself: nothing that the model around it would ask for.
_OWN = frozenset(vars(nn.Module()))
# Where a module keeps what is called before and after its forward.
HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class HostedAttention(nn.Module):
    """Translates between a model and its folded attention.

    Args:
        folded: the attention; in the layout "tokens" unless the class took maps, channels first.
        call: how the class was called.
        replaced: the layer of that class. Its plain attributes are kept, which the model may read
            or set, and its hooks, but for those by which torch computes weights that are gone.
    """

    def __init__(
        self, folded: FoldedSlideAttention, call: AttentionCall, replaced: nn.Module
    ) -> None:
        super().__init__()
        for name, value in vars(replaced).items():
            if name not in _OWN and not hasattr(self, name):
                setattr(self, name, value)
        for field in HOOKS:
            for key, hook in getattr(replaced, field).items():
                if not type(hook).__module__.startswith("torch.nn.utils"):
                    getattr(self, field)[key] = hook
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
        return self._call.packed(out)
