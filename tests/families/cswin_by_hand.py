"""A CSWin written from its formulas, position by position.

Every query attends to the positions of the padded feature map that a mask selects as its stripe.
The positional convolution is a sum over neighbours in the same stripe.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.models.cswin import CswinConfig

State = dict[str, Tensor]


def maps_by_hand(state: State, config: CswinConfig, image: Tensor) -> list[Tensor]:
    """Compute the output of each stage's blocks, (batch, C, h, w)."""
    outputs: list[Tensor] = []
    for stage, depth in enumerate(config.depths):
        if stage:
            name = f"merge{stage}"
            maps = _convolved(state, f"{name}.conv", outputs[-1], stride=2, padding=1)
            maps = _normed(state, f"{name}.norm", maps)
        else:
            maps = _convolved(state, "stage1_conv_embed.0", image, stride=4, padding=2)
            maps = _normed(state, "stage1_conv_embed.2", maps)
        for block in range(depth):
            name = f"stage{stage + 1}.{block}"
            normed = _normed(state, f"{name}.norm1", maps)
            kernel = config.slide_kernel(stage, block)
            heads = config.num_heads[stage]
            if kernel:
                maps = maps + _slid(state, f"{name}.attn", normed, heads, kernel)
            else:
                maps = maps + _striped(state, name, normed, heads, config, stage)
            hidden = _linear(state, f"{name}.mlp.fc1", _normed(state, f"{name}.norm2", maps))
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            maps = maps + _linear(state, f"{name}.mlp.fc2", hidden)
        outputs.append(maps)
    return outputs


def logits_by_hand(state: State, config: CswinConfig, image: Tensor) -> Tensor:
    """Compute the logits, (batch, classes)."""
    last = maps_by_hand(state, config, image)[-1]
    mean = _normed(state, "norm", last).mean(dim=(2, 3))
    return mean @ state["head.weight"].T + state["head.bias"]


def normed_by_hand(state: State, maps: list[Tensor]) -> list[Tensor]:
    """Normalise the feature maps for which a detector's backbone has a normalisation."""
    return [
        _normed(state, f"norm{number}", each) if f"norm{number}.weight" in state else each
        for number, each in enumerate(maps, start=1)
    ]


def _convolved(state: State, name: str, maps: Tensor, stride: int, padding: int) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.conv2d(maps, weight, bias, stride=stride, padding=padding)


def _linear(state: State, name: str, maps: Tensor) -> Tensor:
    mixed = torch.einsum("oc,bchw->bohw", state[f"{name}.weight"], maps)
    bias = state.get(f"{name}.bias")
    return mixed if bias is None else mixed + bias[:, None, None]


def _normed(state: State, name: str, maps: Tensor) -> Tensor:
    centred = maps - maps.mean(dim=1, keepdim=True)
    scaled = centred / torch.sqrt(centred.pow(2).mean(dim=1, keepdim=True) + 1e-5)
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return scaled * weight[:, None, None] + bias[:, None, None]


def _striped(
    state: State, name: str, maps: Tensor, heads: int, config: CswinConfig, stage: int
) -> Tensor:
    channels, height, width = maps.shape[1:]
    cells = [(height, width)]
    if not config.whole_map[stage]:
        cells = [(height, config.stripes[stage]), (config.stripes[stage], width)]
    share, outputs = channels // len(cells), []
    qkv = _linear(state, f"{name}.qkv", maps).split(channels, dim=1)
    for branch, cell in enumerate(cells):
        mine = slice(branch * share, (branch + 1) * share)
        q, k, v = (each[:, mine] for each in qkv)
        get_v = f"{name}.attns.{branch}.get_v"
        kernel, bias = state[f"{get_v}.weight"], state[f"{get_v}.bias"]
        outputs.append(_attended(q, k, v, heads // len(cells), cell, kernel, bias))
    return _linear(state, f"{name}.proj", torch.cat(outputs, dim=1))


def _attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    cell: tuple[int, int],
    kernel: Tensor,
    bias: Tensor,
) -> Tensor:
    """Attend from each position to those of its stripe, including the zeros around the map."""
    channels, height, width = q.shape[1:]
    above = math.ceil(height / cell[0]) * cell[0] - height
    beside = math.ceil(width / cell[1]) * cell[1] - width
    top, left = above // 2, beside // 2
    padded = torch.zeros(2, *q.shape[:2], height + above, width + beside, dtype=q.dtype)
    padded[0, :, :, top : top + height, left : left + width] = k
    padded[1, :, :, top : top + height, left : left + width] = v
    keys, values = padded
    rows = torch.arange(height + above) // cell[0]
    columns = torch.arange(width + beside) // cell[1]
    stripe = rows[:, None] * len(columns) + columns[None, :]  # number of the stripe
    dim, output = channels // heads, torch.zeros_like(q)
    for y in range(height):
        for x in range(width):
            place = (y + top, x + left)
            inside = stripe == stripe[place]
            for head in range(heads):
                mine = slice(head * dim, (head + 1) * dim)
                logits = torch.einsum("bc,bcn->bn", q[:, mine, y, x], keys[:, mine, inside])
                weights = torch.softmax(logits / math.sqrt(dim), dim=1)
                output[:, mine, y, x] = torch.einsum("bn,bcn->bc", weights, values[:, mine, inside])
            output[:, :, y, x] += bias
            for row in range(max(0, place[0] - 1), min(len(rows), place[0] + 2)):
                for column in range(max(0, place[1] - 1), min(len(columns), place[1] + 2)):
                    if inside[row, column]:
                        tap = kernel[:, 0, row - place[0] + 1, column - place[1] + 1]
                        output[:, :, y, x] += tap * values[:, :, row, column]
    return output


def _slid(state: State, name: str, maps: Tensor, heads: int, kernel: int) -> Tensor:
    """Slide attention, with both branches written as one sum over neighbours."""
    batch, channels, height, width = maps.shape
    dim, offsets = channels // heads, kernel**2
    qkv = _linear(state, f"{name}.qkv", maps).reshape(batch, heads, 3, dim, height, width)
    both = (f"{name}.dep_conv", f"{name}.dep_conv1")
    weight = sum(state[f"{each}.weight"] for each in both).reshape(dim, offsets, offsets)
    bias = sum(state[f"{each}.bias"] for each in both).reshape(dim, offsets, 1)

    def neighbours(side: Tensor) -> Tensor:
        patches = functional.unfold(side.flatten(0, 1), kernel, padding=kernel // 2)
        patches = patches.reshape(batch, heads, dim, offsets, height * width)
        return torch.einsum("dpj,bhdjn->bhdpn", weight, patches) + bias

    table = state[f"{name}.relative_position_bias_table"].reshape(1, heads, 1, offsets, 1)
    keys, values = neighbours(qkv[:, :, 1]) + table, neighbours(qkv[:, :, 2])
    logits = torch.einsum("bhdn,bhdpn->bhpn", qkv[:, :, 0].flatten(3), keys) / math.sqrt(dim)
    output = torch.einsum("bhpn,bhdpn->bhdn", logits.softmax(dim=2), values)
    return _linear(state, f"{name}.proj", output.reshape(maps.shape))
