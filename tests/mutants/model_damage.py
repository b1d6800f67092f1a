"""Wrong weights: what a mistake in folding, lowering or loading leaves in a valid graph.

One layer is damaged where one is enough: that is harder to see than all of them.
"""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.depthwise import Depthwise
from slide_deploy.lowerings.lowered import LoweredSlideAttention
from slide_deploy.models.slide_attention import SlideAttention
from slide_deploy.models.slide_swin import PatchMerging, SlideSwin
from slide_deploy.models.window_attention import WindowAttention

# The slide attention with two heads, and a window attention whose windows are shifted.
SLIDE = "layers.1.blocks.0.attn"
WINDOW = "layers.2.blocks.1.attn"


def lowered_slide(model: nn.Module) -> LoweredSlideAttention:
    found = model.get_submodule(SLIDE)
    assert isinstance(found, LoweredSlideAttention)
    return found


def slide(model: nn.Module) -> Depthwise:
    form = lowered_slide(model).form
    assert isinstance(form, Depthwise)
    return form


def window(model: nn.Module) -> WindowAttention:
    found = model.get_submodule(WINDOW)
    assert isinstance(found, WindowAttention)
    return found


def branches(trained: SlideSwin) -> SlideAttention:
    found = trained.get_submodule(SLIDE)
    assert isinstance(found, SlideAttention)
    return found


def linear(model: nn.Module, name: str) -> nn.Linear:
    found = model.get_submodule(name)
    assert isinstance(found, nn.Linear)
    return found


def merging(model: nn.Module) -> PatchMerging:
    found = model.get_submodule("layers.0.downsample")
    assert isinstance(found, PatchMerging)
    return found


def bias(module: nn.Conv2d | nn.Linear) -> Tensor:
    assert module.bias is not None
    return module.bias


def swap(first: Tensor, second: Tensor) -> None:
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)


# Slide attention: projections.


def keys_and_values_swapped(model: nn.Module, trained: SlideSwin) -> None:
    swap(slide(model).key.weight, slide(model).value.weight)


def queries_and_keys_swapped(model: nn.Module, trained: SlideSwin) -> None:
    swap(slide(model).query.weight, slide(model).key.weight)
    swap(bias(slide(model).query), bias(slide(model).key))


def query_bias_dropped(model: nn.Module, trained: SlideSwin) -> None:
    bias(slide(model).query).zero_()


def projection_bias_dropped(model: nn.Module, trained: SlideSwin) -> None:
    lowered_slide(model).proj.bias.zero_()


def projection_read_in_the_window_layout(model: nn.Module, trained: SlideSwin) -> None:
    attention, qkv = slide(model), branches(trained).qkv
    parts = (attention.query, attention.key, attention.value)
    # Rows are (head, q|k|v, d) and get read as (q|k|v, head, d).
    for conv, weight, rows in zip(parts, qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
        conv.weight.copy_(weight[:, :, None, None])
        bias(conv).copy_(rows)


def heads_permuted(model: nn.Module, trained: SlideSwin) -> None:
    weight = lowered_slide(model).proj.weight
    by_head = weight.unflatten(1, (slide(model).config.num_heads, -1))
    weight.copy_(by_head.flip(1).flatten(1, 2))


# Slide attention: folded convolutions. Their outputs are (head, d, offset).


def sides_swapped(model: nn.Module, trained: SlideSwin) -> None:
    swap(slide(model).key_conv.weight, slide(model).value_conv.weight)
    swap(bias(slide(model).key_conv), bias(slide(model).value_conv))


def folded_bias_dropped(model: nn.Module, trained: SlideSwin) -> None:
    bias(slide(model).value_conv).zero_()


def position_bias(trained: SlideSwin) -> Tensor:
    """What the bias table adds to the folded bias: (head * d * offset)."""
    attention = branches(trained)
    heads, offsets = attention.config.num_heads, attention.config.offsets
    assert attention.relative_position_bias_table is not None
    table = attention.relative_position_bias_table.reshape(heads, 1, offsets)
    return table.expand(heads, attention.config.head_dim, offsets).reshape(-1)


def bias_table_in_the_values(model: nn.Module, trained: SlideSwin) -> None:
    scale, table = branches(trained).config.scale, position_bias(trained)
    bias(slide(model).key_conv).sub_(scale * table)
    bias(slide(model).value_conv).add_(table)


def bias_table_unscaled(model: nn.Module, trained: SlideSwin) -> None:
    bias(slide(model).key_conv).add_((1 - branches(trained).config.scale) * position_bias(trained))


def offsets_of(parameter: Tensor) -> Tensor:
    """(head * d * offset, ...) as (head * d, offset, ...), the same memory."""
    return parameter.unflatten(0, (-1, 9))


def one_offset_permuted(model: nn.Module, trained: SlideSwin) -> None:
    conv = slide(model).value_conv
    for parameter in (conv.weight, bias(conv)):
        swap(offsets_of(parameter)[:, 0], offsets_of(parameter)[:, 1])


def offsets_column_by_column(model: nn.Module, trained: SlideSwin) -> None:
    conv = slide(model).value_conv
    for parameter in (conv.weight, bias(conv)):
        grid = offsets_of(parameter).unflatten(1, (3, 3))
        grid.copy_(grid.transpose(1, 2).clone())


def kernels_transposed(model: nn.Module, trained: SlideSwin) -> None:
    for conv in (slide(model).key_conv, slide(model).value_conv):
        conv.weight.copy_(conv.weight.transpose(2, 3).clone())


def kernels_flipped(model: nn.Module, trained: SlideSwin) -> None:
    for conv in (slide(model).key_conv, slide(model).value_conv):
        conv.weight.copy_(conv.weight.flip(2, 3))


def scale_keys(model: nn.Module, factor: float) -> None:
    slide(model).key_conv.weight.mul_(factor)
    bias(slide(model).key_conv).mul_(factor)


def scale_twice(model: nn.Module, trained: SlideSwin) -> None:
    scale_keys(model, branches(trained).config.scale)


def scale_left_out(model: nn.Module, trained: SlideSwin) -> None:
    scale_keys(model, 1 / branches(trained).config.scale)


def scale_of_all_channels(model: nn.Module, trained: SlideSwin) -> None:
    scale_keys(model, branches(trained).config.num_heads ** -0.5)


# Slide attention: branches, before they are folded.


def shift_branch_twice(trained: SlideSwin) -> None:
    branches(trained).dep_conv.weight.mul_(2)
    bias(branches(trained).dep_conv).mul_(2)


def shift_branch_without_bias(trained: SlideSwin) -> None:
    bias(branches(trained).dep_conv).zero_()


def shift_branch_left_out(trained: SlideSwin) -> None:
    branches(trained).dep_conv.weight.zero_()
    bias(branches(trained).dep_conv).zero_()


def deformed_branch_left_out(trained: SlideSwin) -> None:
    branches(trained).dep_conv1.weight.zero_()
    bias(branches(trained).dep_conv1).zero_()


def bias_table_dropped(trained: SlideSwin) -> None:
    _table(trained).zero_()


def bias_table_of_another_head(trained: SlideSwin) -> None:
    _table(trained).copy_(_table(trained).flip(1))


def bias_table_reversed(trained: SlideSwin) -> None:
    _table(trained).copy_(_table(trained).flip(3))


def _table(trained: SlideSwin) -> Tensor:
    table = branches(trained).relative_position_bias_table
    assert table is not None
    return table


# Window attention.


def mask(model: nn.Module) -> Tensor:
    """What keeps positions of a shifted window apart: (window, w*w, w*w)."""
    found = model.get_submodule(WINDOW.removesuffix(".attn")).attn_mask
    assert isinstance(found, Tensor)
    return found


def mask_left_out(model: nn.Module, trained: SlideSwin) -> None:
    mask(model).zero_()


def mask_of_other_windows(model: nn.Module, trained: SlideSwin) -> None:
    mask(model).copy_(mask(model).flip(0))


def mask_of_the_opposite_shift(model: nn.Module, trained: SlideSwin) -> None:
    # Turning the map by half a turn reverses windows and the positions inside each.
    mask(model).copy_(mask(model).flip(0, 1, 2))


def mask_too_weak(model: nn.Module, trained: SlideSwin) -> None:
    mask(model).mul_(0.1)


def position_index_transposed(model: nn.Module, trained: SlideSwin) -> None:
    table = window(model).relative_position_bias_table
    table.copy_(table.flip(0))


def position_index_column_by_column(trained: SlideSwin) -> None:
    table = trained.get_submodule(WINDOW).relative_position_bias_table
    assert isinstance(table, Tensor)
    side = round(table.shape[0] ** 0.5)
    table.copy_(table.unflatten(0, (side, side)).transpose(0, 1).flatten(0, 1).clone())


def window_heads_permuted(model: nn.Module, trained: SlideSwin) -> None:
    attention = window(model)
    by_head = attention.proj.weight.unflatten(1, (attention.num_heads, -1))
    attention.proj.weight.copy_(by_head.flip(1).flatten(1, 2))


def square_matrix_transposed(model: nn.Module, trained: SlideSwin) -> None:
    weight = window(model).proj.weight
    weight.copy_(weight.T.clone())


# The rest of the network.


def merged_row_by_row(model: nn.Module, trained: SlideSwin) -> None:
    # Cells stand in the order (row, column) 00 10 01 11.
    cells = merging(model).reduction.weight.unflatten(-1, (4, -1))
    swap(cells[..., 1, :], cells[..., 2, :])


def channels_reversed(model: nn.Module, trained: SlideSwin) -> None:
    weight = _patches(model).weight
    weight.copy_(weight.flip(1))


def patches_transposed(model: nn.Module, trained: SlideSwin) -> None:
    weight = _patches(model).weight
    weight.copy_(weight.transpose(2, 3).clone())


def _patches(model: nn.Module) -> nn.Conv2d:
    found = model.get_submodule("patch_embed.proj")
    assert isinstance(found, nn.Conv2d)
    return found


def mlp_bias_dropped(trained: SlideSwin) -> None:
    linear(trained, "layers.2.blocks.0.mlp.fc1").bias.zero_()


def norm_without_affine(trained: SlideSwin) -> None:
    norm = trained.get_submodule("layers.2.blocks.0.norm1")
    assert isinstance(norm, nn.LayerNorm)
    norm.weight.fill_(1)
    norm.bias.zero_()


def weights_of_another_layer(model: nn.Module, trained: SlideSwin) -> None:
    source = linear(model, "layers.2.blocks.0.mlp.fc2")
    target = linear(model, "layers.2.blocks.1.mlp.fc2")
    target.weight.copy_(source.weight)
    target.bias.copy_(source.bias)


def head_bias_dropped(model: nn.Module, trained: SlideSwin) -> None:
    linear(model, "head").bias.zero_()


def logits_scaled(model: nn.Module, trained: SlideSwin) -> None:
    head = linear(model, "head")
    head.weight.mul_(1.001)
    head.bias.mul_(1.001)


def classes_permuted(model: nn.Module, trained: SlideSwin) -> None:
    head = linear(model, "head")
    head.weight.copy_(head.weight.roll(1, 0))
    head.bias.copy_(head.bias.roll(1))


def not_a_number(model: nn.Module, trained: SlideSwin) -> None:
    linear(model, "layers.3.blocks.0.mlp.fc2").weight[3, 5] = torch.nan


def one_sign_flipped(model: nn.Module, trained: SlideSwin) -> None:
    weight = linear(model, "layers.2.blocks.1.mlp.fc2").weight.view(-1)
    weight[weight.abs().argmax()] *= -1


def rounded_to_float16(model: nn.Module, trained: SlideSwin) -> None:
    for parameter in model.state_dict().values():
        parameter.copy_(parameter.half())


def one_layer_rounded_to_float16(model: nn.Module, trained: SlideSwin) -> None:
    weight = linear(model, "layers.3.blocks.0.mlp.fc1").weight
    weight.copy_(weight.half())
