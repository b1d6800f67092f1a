"""PVTv2 written from its formulas and its state dict alone."""

import math
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional


def features(state: Mapping[str, Tensor], image: Tensor, heads: tuple[int, ...]) -> list[Tensor]:
    """Compute the feature maps of the stages, (batch, C, h, w), from the heads of each stage."""
    linear = any(
        name.endswith("attn.sr.weight") and tensor.shape[2] == 1 for name, tensor in state.items()
    )
    maps, outputs = image, []
    for stage in range(1, 1 + len(heads)):
        maps = convolution(
            state, f"patch_embed{stage}.proj", maps, *((2, 1) if stage > 1 else (4, 3))
        )
        maps = normalised(state, f"patch_embed{stage}.norm", maps, 1e-5)
        for block in count():
            name = f"block{stage}.{block}"
            if f"{name}.norm1.weight" not in state:
                break
            normed = normalised(state, f"{name}.norm1", maps, 1e-6)
            slides = f"{name}.attn.dep_conv.weight" in state
            attention = slide_attention if slides else reduced_attention
            maps = maps + attention(state, f"{name}.attn", normed, heads[stage - 1])
            normed = normalised(state, f"{name}.norm2", maps, 1e-6)
            maps = maps + mlp(state, f"{name}.mlp", normed, linear)
        maps = normalised(state, f"norm{stage}", maps, 1e-6)
        outputs.append(maps)
    return outputs


def logits(state: Mapping[str, Tensor], image: Tensor, heads: tuple[int, ...]) -> Tensor:
    """Compute the outputs of the classifier."""
    return projection(state, "head", features(state, image, heads)[-1].mean((2, 3), keepdim=True))[
        ..., 0, 0
    ]


def projection(state: Mapping[str, Tensor], name: str, maps: Tensor) -> Tensor:
    """Apply a linear layer at every position."""
    output = torch.einsum("oc,bchw->bohw", state[f"{name}.weight"].flatten(1), maps)
    bias = state.get(f"{name}.bias")
    return output if bias is None else output + bias[:, None, None]


def normalised(state: Mapping[str, Tensor], name: str, maps: Tensor, eps: float) -> Tensor:
    centred = maps - maps.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return scaled * weight[:, None, None] + bias[:, None, None]


def convolution(
    state: Mapping[str, Tensor], name: str, maps: Tensor, stride: int, padding: int
) -> Tensor:
    """Sum over the kernel's offsets. Rows and columns that do not fill a stride are dropped."""
    weight = state[f"{name}.weight"]
    kernel = weight.shape[-1]
    padded = functional.pad(maps, (padding,) * 4)
    height, width = ((side - kernel) // stride + 1 for side in padded.shape[2:])
    total = state[f"{name}.bias"][:, None, None]
    for y in range(kernel):
        for x in range(kernel):
            seen = padded[:, :, y::stride, x::stride][:, :, :height, :width]
            factor = weight[:, :, y, x]
            depthwise = weight.shape[1] != maps.shape[1]
            total = total + (
                seen * factor[:, 0, None, None]
                if depthwise
                else torch.einsum("oc,bchw->bohw", factor, seen)
            )
    return total


def gelu(values: Tensor) -> Tensor:
    return values * (1 + torch.erf(values / math.sqrt(2))) / 2


def mlp(state: Mapping[str, Tensor], name: str, maps: Tensor, relu: bool) -> Tensor:
    hidden = projection(state, f"{name}.fc1", maps)
    hidden = hidden.clamp(min=0) if relu else hidden
    return projection(
        state, f"{name}.fc2", gelu(convolution(state, f"{name}.dwconv.dwconv", hidden, 1, 1))
    )


def reduced_attention(state: Mapping[str, Tensor], name: str, maps: Tensor, heads: int) -> Tensor:
    """Every position attends to all positions of a reduced feature map."""
    small = maps
    reduction = state.get(f"{name}.sr.weight")
    if reduction is not None and reduction.shape[-1] == 1:
        pooled = functional.adaptive_avg_pool2d(maps, 7)
        small = gelu(
            normalised(state, f"{name}.norm", projection(state, f"{name}.sr", pooled), 1e-5)
        )
    elif reduction is not None:
        small = convolution(state, f"{name}.sr", maps, reduction.shape[-1], 0)
        small = normalised(state, f"{name}.norm", small, 1e-5)
    q = projection(state, f"{name}.q", maps)
    k, v = projection(state, f"{name}.kv", small).flatten(2).chunk(2, dim=1)
    parts = []
    for each in zip(*(one.chunk(heads, dim=1) for one in (q.flatten(2), k, v)), strict=True):
        query, key, value = each
        logits = torch.einsum("bdq,bdk->bqk", query, key) / math.sqrt(query.shape[1])
        parts.append(torch.einsum("bqk,bdk->bdq", logits.softmax(-1), value))
    return projection(state, f"{name}.proj", torch.cat(parts, 1).reshape(maps.shape))


def slide_attention(state: Mapping[str, Tensor], name: str, maps: Tensor, heads: int) -> Tensor:
    """Every position attends to its neighbours. Those outside the map are zeros."""
    weight = state[f"{name}.dep_conv.weight"] + state[f"{name}.dep_conv1.weight"]
    bias = state[f"{name}.dep_conv.bias"] + state[f"{name}.dep_conv1.bias"]
    kernel, (height, width) = weight.shape[-1], maps.shape[2:]
    dim = maps.shape[1] // heads
    weight, bias = weight.reshape(dim, kernel**2, kernel, kernel), bias.reshape(dim, kernel**2)
    table = state[f"{name}.relative_position_bias_table"].reshape(heads, kernel**2)

    def neighbours(one: Tensor) -> Tensor:
        """(batch, d, h, w) to (batch, d, offset, h, w)."""
        padded = functional.pad(one, (kernel // 2,) * 4)
        total = bias[None, :, :, None, None]
        for y in range(kernel):
            for x in range(kernel):
                seen = padded[:, :, None, y : y + height, x : x + width]
                total = total + seen * weight[None, :, :, y, x, None, None]
        return total

    parts = []
    for head, three in enumerate(projection(state, f"{name}.qkv", maps).chunk(heads, dim=1)):
        q, k, v = three.chunk(3, dim=1)
        keys = neighbours(k) + table[head][None, None, :, None, None]
        logits = (q[:, :, None] * keys).sum(1, keepdim=True) / math.sqrt(dim)
        parts.append((logits.softmax(2) * neighbours(v)).sum(2))
    return projection(state, f"{name}.proj", torch.cat(parts, 1))
