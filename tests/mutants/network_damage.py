"""Wrong networks: the lowered model is built otherwise and written anew.

Each function gets a copy of the lowered model and one of the trained model, and gives back the
network to write.
"""

from collections.abc import Callable
from pathlib import Path
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.folding.surgery import replace_module
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_swin import SlideSwin, SwinBlock
from slide_deploy.models.window_attention import merge_windows, partition_windows, roll_maps
from tests.mutants.bases import Base, Rebuild
from tests.mutants.model_damage import SLIDE, WINDOW, bias, branches, lowered_slide, slide
from tests.mutants.mutant import Damage

SLIDE_BLOCK, SHIFTED_BLOCK = (name.removesuffix(".attn") for name in (SLIDE, WINDOW))


def written_anew(rebuild: Rebuild) -> Damage:
    """Damage to the network, which is exported."""

    def damage(base: Base, format: str, folder: Path) -> Path:
        return base.export(rebuild, format, folder)

    return damage


def forwarding(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    """Let a module compute something else."""
    module.forward = MethodType(forward, module)


def block(model: nn.Module, name: str) -> SwinBlock:
    found = model.get_submodule(name)
    assert isinstance(found, SwinBlock)
    return found


# The folded convolutions of one slide attention, replaced by something else.


def border_replicated(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return _convolved(model, lambda conv: nn.Sequential(nn.ReplicationPad2d(1), _bare(conv)))


def border_wrapped_around(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return _convolved(model, lambda conv: nn.Sequential(_Wrap(), _bare(conv)))


def border_padded_behind(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return _convolved(model, lambda conv: nn.Sequential(_bare(conv), nn.ZeroPad2d(1)))


def unfolded(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return _convolved(model, _Unfolded)


def dense_convolution(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return _convolved(model, _dense)


def _convolved(model: nn.Module, make: Callable[[nn.Conv2d], nn.Module]) -> nn.Module:
    attention = slide(model)
    for name in ("key_conv", "value_conv"):
        setattr(attention, name, make(attention.get_submodule(name)))  # type: ignore[arg-type]
    return model


def _bare(conv: nn.Conv2d) -> nn.Conv2d:
    conv.padding = (0, 0)
    return conv


class _Wrap(nn.Module):
    """One position of the opposite side around the map, in words that Core ML knows."""

    def forward(self, maps: Tensor) -> Tensor:
        maps = torch.cat((maps[..., -1:, :], maps, maps[..., :1, :]), dim=2)
        return torch.cat((maps[..., -1:], maps, maps[..., :1]), dim=3)


class _Unfolded(nn.Module):
    """The same numbers, by copying every neighbourhood."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        # (C, K outputs, taps)
        self.weight = nn.Parameter(conv.weight.reshape(conv.groups, -1, 9).clone(), False)
        self.bias = bias(conv)

    def forward(self, maps: Tensor) -> Tensor:
        channels, height, width = maps.shape[1:]
        # (batch, C, taps, H*W)
        taps = functional.unfold(maps, 3, padding=1).reshape(-1, channels, 9, height * width)
        out = (self.weight @ taps).reshape(-1, self.bias.shape[0], height, width)
        return out + self.bias[:, None, None]


def _dense(conv: nn.Conv2d) -> nn.Conv2d:
    dense = nn.Conv2d(conv.groups, conv.out_channels, 3, padding=1)
    dense.bias = conv.bias
    dense.weight.requires_grad_(False).zero_()
    for channel in range(conv.groups):
        outputs = slice(channel * 9, channel * 9 + 9)
        dense.weight[outputs, channel] = conv.weight[outputs, 0]
    return dense


# The rest of slide attention.


def border_masked_out(model: nn.Module, trained: SlideSwin) -> nn.Module:
    attention = slide(model)
    config, resolution = attention.config, lowered_slide(model).resolution
    assert resolution is not None
    inside = functional.unfold(torch.ones(1, 1, *resolution), 3, padding=1)
    # (1, 1, offset, H*W): what to add to the logit of a neighbour
    mask = torch.where(inside > 0, 0.0, -torch.inf)[:, None]
    attention.register_buffer("mask", mask)

    def attend(self: nn.Module, q: Tensor, k: Tensor, v: Tensor, strip: Strip) -> Tensor:
        split = (-1, config.head_dim, config.offsets, mask.shape[-1])
        queries = q.reshape(-1, config.head_dim, 1, mask.shape[-1])
        keys = attention.key_conv(k).reshape(split)
        values = attention.value_conv(v).reshape(split)
        logits = (queries * keys).sum(dim=1, keepdim=True) + attention.get_buffer("mask")
        return (logits.softmax(dim=2) * values).sum(dim=2).reshape(q.shape)

    attention.attend = MethodType(attend, attention)  # type: ignore[method-assign]
    return model


def branched(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return trained


def one_attention_branched(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return replace_module(model, SLIDE, branches(trained))


# Shifted windows.


def rolled_one_position_less(model: nn.Module, trained: SlideSwin) -> nn.Module:
    block(model, SHIFTED_BLOCK).shift -= 1
    return model


def not_rolled_back(model: nn.Module, trained: SlideSwin) -> nn.Module:
    shifted = block(model, SHIFTED_BLOCK)

    def attend(self: nn.Module, tokens: Tensor) -> Tensor:
        maps = tokens.reshape(-1, *shifted.resolution, tokens.shape[-1])
        maps = roll_maps(maps, shifted.shift)
        windows = shifted.attn(partition_windows(maps, shifted.window))
        return merge_windows(windows, shifted.window, shifted.resolution).flatten(1, 2)

    shifted._window_attention = MethodType(attend, shifted)  # type: ignore[method-assign]
    return model


# Around the attention, and the end of the network.


def attention_without_residual(model: nn.Module, trained: SlideSwin) -> nn.Module:
    def forward(self: SwinBlock, tokens: Tensor) -> Tensor:
        tokens = self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))

    forwarding(block(model, SLIDE_BLOCK), forward)
    return model


def mlp_without_residual(model: nn.Module, trained: SlideSwin) -> nn.Module:
    def forward(self: SwinBlock, tokens: Tensor) -> Tensor:
        return self.mlp(self.norm2(tokens + self.attn(self.norm1(tokens))))

    forwarding(block(model, SLIDE_BLOCK), forward)
    return model


def norm_skipped(model: nn.Module, trained: SlideSwin) -> nn.Module:
    return replace_module(model, f"{SLIDE_BLOCK}.norm2", nn.Identity())


def pooled_by(pool: Callable[[SlideSwin, Tensor], Tensor]) -> Rebuild:
    """Another way from the tokens of the last stage, (batch, positions, channels), to logits."""

    def rebuild(model: nn.Module, trained: SlideSwin) -> nn.Module:
        def forward(self: SlideSwin, image: Tensor) -> Tensor:
            return pool(self, self.stages(image)[-1])

        forwarding(model, forward)
        return model

    return rebuild


def largest_token(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens).amax(dim=1))


def first_token(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens)[:, 0])


def mean_over_padded_tokens(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(functional.pad(model.norm(tokens), (0, 0, 0, 4)).mean(dim=1))


def norm_behind_the_mean(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens.mean(dim=1)))


def one_class_lost(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens).mean(dim=1))[:, :-1]


def images_mixed(model: SlideSwin, tokens: Tensor) -> Tensor:
    pooled = model.norm(tokens).mean(dim=1)
    return model.head(pooled + 0.01 * (pooled - pooled.mean(dim=0, keepdim=True)))


def probabilities(model: SlideSwin, tokens: Tensor) -> Tensor:
    return model.head(model.norm(tokens).mean(dim=1)).softmax(dim=-1)


def image_normalised_twice(model: nn.Module, trained: SlideSwin) -> nn.Module:
    def forward(self: SlideSwin, image: Tensor) -> Tensor:
        tokens = self.stages((image - 0.45) / 0.225)[-1]
        return self.head(self.norm(tokens).mean(dim=1))

    forwarding(model, forward)
    return model
