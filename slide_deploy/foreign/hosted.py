"""A module that replaces another project's attention, with the same arguments and outputs."""

from typing import Any

from torch import nn

from slide_deploy.foreign.calls import AttentionCall
from slide_deploy.models.slide_attention import FoldedSlideAttention

# Attributes of every module of torch, which are not copied from the replaced layer.
_OWN = frozenset(vars(nn.Module()))
# Attributes in which a module keeps its forward hooks.
HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


class HostedAttention(nn.Module):
    """Adapts a folded attention to the calling convention of the layer that it replaces.

    Args:
        folded: the folded attention. Its layout is "nchw" if the replaced layer takes NCHW feature
            maps, else "tokens".
        call: how the replaced layer was called.
        replaced: the replaced layer. Its plain attributes are kept, because the model may read or
            set them. Its hooks are kept too, except those of ``torch.nn.utils``, which compute
            weights that no longer exist.
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
        """Run the attention on the arguments of the replaced layer, and return what it returned."""
        x, size = self._call.arguments(self, args, kwargs)
        if self._call.layout == "nchw":
            out = self.attention(x)[0]
        else:
            tokens = x.flatten(1, 2) if x.ndim == 4 else x
            out = self.attention(tokens, size).reshape(x.shape)
        return self._call.pack(out)
