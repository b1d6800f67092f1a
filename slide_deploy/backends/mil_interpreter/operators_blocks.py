"""Operators that move blocks of elements between channels, space and batch; x (n, C, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.windows import pad_constant


def pixel_shuffle(call: OperatorCall) -> Tensor:
    """Channels into space: (n, C f f, H, W) to (n, C, H f, W f).

    The f f channels of one pixel are adjacent.
    """
    return torch.pixel_shuffle(_feature_map(call), _factor(call, "upscale_factor"))


def pixel_unshuffle(call: OperatorCall) -> Tensor:
    """The reverse of ``pixel_shuffle``: (n, C, H f, W f) to (n, C f f, H, W)."""
    return torch.pixel_unshuffle(_feature_map(call), _factor(call, "downscale_factor"))


def depth_to_space(call: OperatorCall) -> Tensor:
    """Channels into space: (n, b b C, H, W) to (n, C, H b, W b).

    The b b channels of one pixel are C apart.
    """
    x, block = _feature_map(call), _factor(call, "block_size")
    n, channels, height, width = x.shape
    parts = x.reshape(n, block, block, channels // block**2, height, width)
    # (n, block row, block column, C, H, W) -> (n, C, H, block row, W, block column)
    moved = parts.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(n, channels // block**2, height * block, width * block)


def space_to_depth(call: OperatorCall) -> Tensor:
    """The reverse of ``depth_to_space``: (n, C, H b, W b) to (n, b b C, H, W)."""
    x, block = _feature_map(call), _factor(call, "block_size")
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels, height // block, block, width // block, block)
    # (n, C, H, block row, W, block column) -> (n, block row, block column, C, H, W)
    moved = parts.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(n, channels * block**2, height // block, width // block)


def space_to_batch(call: OperatorCall) -> Tensor:
    """Pad with zeros, and move space into the batch: (n, C, H a, W b) to (a b n, C, H, W)."""
    x, (rows, columns) = _feature_map(call), _block(call)
    x = pad_constant(call, x, _around(call, "paddings"), 0.0)
    n, channels, height, width = x.shape
    parts = x.reshape(n, channels, height // rows, rows, width // columns, columns)
    # (n, C, H, block row, W, block column) -> (block row, block column, n, C, H, W)
    moved = parts.permute(3, 5, 0, 1, 2, 4)
    return moved.reshape(rows * columns * n, channels, height // rows, width // columns)


def batch_to_space(call: OperatorCall) -> Tensor:
    """Move the batch into space, and crop: (a b n, C, H, W) to (n, C, H a, W b) before the crop."""
    x, (rows, columns) = _feature_map(call), _block(call)
    count, channels, height, width = x.shape
    parts = x.reshape(rows, columns, count // (rows * columns), channels, height, width)
    # (block row, block column, n, C, H, W) -> (n, C, H, block row, W, block column)
    moved = parts.permute(2, 3, 4, 0, 5, 1)
    whole = moved.reshape(count // (rows * columns), channels, height * rows, width * columns)
    (top, bottom), (left, right) = _around(call, "crops")
    return _cut(call, whole, (top, bottom), (left, right))


def crop(call: OperatorCall) -> Tensor:
    """The last two axes without the given numbers of elements at each end."""
    height, width = call.integers("crop_height"), call.integers("crop_width")
    if len(height) != 2 or len(width) != 2 or call.tensor("x").dim() < 2:
        raise call.faulty(f"cuts off {height} and {width}")
    return _cut(call, call.tensor("x"), (height[0], height[1]), (width[0], width[1]))


def sliding_windows(call: OperatorCall) -> Tensor:
    """All windows of ``size`` along an axis, ``stride`` apart.

    The axis becomes two axes: the windows, and the elements of each window.
    """
    x, size, stride = call.tensor("x"), call.integer("size"), call.integer("stride", 1)
    axis = call.axis("axis", x.dim())
    if not 1 <= size <= x.shape[axis] or stride < 1:
        raise call.faulty(f"has windows of {size} every {stride} of {x.shape[axis]} elements")
    windows = x.unfold(axis, size, stride)
    call.check_size(windows.shape)
    return windows.movedim(-1, axis + 1)


def _feature_map(call: OperatorCall) -> Tensor:
    x = call.tensor("x")
    if x.dim() != 4:
        raise call.faulty(f"needs a feature map of rank 4, not {x.dim()}")
    return x


def _factor(call: OperatorCall, name: str) -> int:
    factor = call.integer(name)
    if not 1 <= factor <= max(call.tensor("x").shape):
        raise call.faulty(f"has {name} {factor}")
    return factor


def _block(call: OperatorCall) -> tuple[int, int]:
    block = call.integers("block_shape")
    if len(block) != 2 or min(block) < 1:
        raise call.faulty(f"has block_shape {block}")
    return block[0], block[1]


def _around(call: OperatorCall, name: str) -> list[tuple[int, int]]:
    """Read a parameter of shape (2, 2): before and after, for rows and for columns."""
    amounts = call.tensor(name)
    if amounts.shape != (2, 2) or amounts.is_floating_point() or int(amounts.min()) < 0:
        raise call.faulty(f"has {name} of shape {tuple(amounts.shape)}")
    return [(int(before), int(after)) for before, after in amounts.tolist()]


def _cut(call: OperatorCall, x: Tensor, height: tuple[int, int], width: tuple[int, int]) -> Tensor:
    amounts = (*width, *height)
    if min(amounts) < 0 or sum(height) > x.shape[-2] or sum(width) > x.shape[-1]:
        raise call.faulty(f"cuts off {height} and {width} of {tuple(x.shape)}")
    return functional.pad(x, [-amount for amount in amounts])


OPERATORS: Operators = {
    "batch_to_space": Operator(batch_to_space, ("x", "block_shape", "crops")),
    "crop": Operator(crop, ("x", "crop_height", "crop_width")),
    "depth_to_space": Operator(depth_to_space, ("x", "block_size")),
    "pixel_shuffle": Operator(pixel_shuffle, ("x", "upscale_factor")),
    "pixel_unshuffle": Operator(pixel_unshuffle, ("x", "downscale_factor")),
    "sliding_windows": Operator(sliding_windows, ("x", "axis", "size"), ("stride",)),
    "space_to_batch": Operator(space_to_batch, ("x", "block_shape", "paddings")),
    "space_to_depth": Operator(space_to_depth, ("x", "block_size")),
}
