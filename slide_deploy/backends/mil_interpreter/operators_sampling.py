"""Operators that sample a feature map at given points; x (batch, channel, H, W)."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators


def resample(call: OperatorCall) -> Tensor:
    """Sample at ``coordinates`` (batch, rows, columns, 2), with the column before the row.

    The ends of an axis are -1 and 1 in ``normalized_minus_one_to_one``, and 0 and 1 in
    ``normalized_zero_to_one``. With aligned corners the ends are the centres of the border pixels,
    otherwise their outer edges.
    """
    x, coordinates = _feature_map(call), call.tensor("coordinates").to(torch.float64)
    if coordinates.dim() != 4 or coordinates.shape[0] != x.shape[0] or coordinates.shape[3] != 2:
        raise call.faulty(f"has coordinates of shape {tuple(coordinates.shape)}")
    columns, rows = coordinates.unbind(-1)
    height, width = x.shape[2:]
    return _sampled(call, x, _on_axis(call, columns, width), _on_axis(call, rows, height))


def affine(call: OperatorCall) -> Tensor:
    """Sample at an affine transform of the output points, with a matrix (batch or 1, 6).

    ``x' = a0 x + a1 y + a2`` and ``y' = b0 x + b1 y + b2``, with coordinates from -1 to 1.
    """
    x, matrix = _feature_map(call), call.tensor("transform_matrix").to(torch.float64)
    if matrix.dim() != 2 or matrix.shape[1] != 6 or matrix.shape[0] not in (1, x.shape[0]):
        raise call.faulty(f"has a transform_matrix of shape {tuple(matrix.shape)}")
    if not call.flag("align_corners"):
        raise call.unsupported("corners that are not aligned")
    sizes = call.integer("output_height"), call.integer("output_width")
    call.check_size((*x.shape[:2], *sizes))
    rows, columns = (
        2 * torch.arange(size, dtype=torch.float64) / max(size - 1, 1) - 1 for size in sizes
    )
    a, b = (part[:, :, None, None] for part in matrix.expand(x.shape[0], 6).split(3, 1))
    there_columns = a[:, 0] * columns + a[:, 1] * rows[:, None] + a[:, 2]
    there_rows = b[:, 0] * columns + b[:, 1] * rows[:, None] + b[:, 2]
    height, width = x.shape[2:]
    return _sampled(
        call, x, _on_axis(call, there_columns, width), _on_axis(call, there_rows, height)
    )


def _on_axis(call: OperatorCall, coordinates: Tensor, size: int) -> Tensor:
    """Convert coordinates to pixels, in which 0 is the centre of the first pixel."""
    mode, aligned = call.text("coordinates_mode"), call.flag("align_corners")
    if mode == "unnormalized":
        return coordinates
    if mode == "normalized_minus_one_to_one":
        coordinates = (coordinates + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise call.unsupported(f"coordinates_mode {mode}")
    return coordinates * (size - 1) if aligned else coordinates * size - 0.5


def _sampled(call: OperatorCall, x: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Sample at points (batch, rows, columns) in pixels, with the call's padding and sampling."""
    call.check_size((*x.shape[:2], *rows.shape[1:]))
    padding, sampling = call.text("padding_mode").lower(), call.text("sampling_mode").lower()
    height, width = x.shape[2:]
    if padding == "reflection":
        columns, rows = _mirrored(columns, 0, width - 1), _mirrored(rows, 0, height - 1)
    elif padding == "symmetric":
        columns, rows = _mirrored(columns, -0.5, width - 0.5), _mirrored(rows, -0.5, height - 0.5)
    elif padding not in ("constant", "border"):
        raise call.unsupported(f"padding_mode {padding}")
    if padding != "constant":
        columns, rows = columns.clamp(0, width - 1), rows.clamp(0, height - 1)
    outside = call.number("padding_value") if padding == "constant" else 0.0
    if sampling == "bilinear":
        return _bilinear(x, columns, rows, outside)
    if sampling != "nearest":
        raise call.unsupported(f"sampling_mode {sampling}")
    return _picked_pixels(x, columns.round(), rows.round(), outside)


def _mirrored(points: Tensor, low: float, high: float) -> Tensor:
    """Reflect points at both ends, as often as needed."""
    if high == low:
        return torch.full_like(points, low)
    distance = (points - low).abs() % (2 * (high - low))
    return low + torch.minimum(distance, 2 * (high - low) - distance)


def _bilinear(x: Tensor, columns: Tensor, rows: Tensor, outside: float = 0.0) -> Tensor:
    left, top = columns.floor(), rows.floor()
    right_share = (columns - left).to(x.dtype)[:, None]
    bottom_share = (rows - top).to(x.dtype)[:, None]
    upper, lower = (
        _picked_pixels(x, left, row, outside) * (1 - right_share)
        + _picked_pixels(x, left + 1, row, outside) * right_share
        for row in (top, top + 1)
    )
    return upper * (1 - bottom_share) + lower * bottom_share


def _picked_pixels(x: Tensor, columns: Tensor, rows: Tensor, outside: float) -> Tensor:
    """Return the pixels at integer points (batch, rows, columns); ``outside`` out of range."""
    batch, channels, height, width = x.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    places = rows.clamp(0, height - 1).long() * width + columns.clamp(0, width - 1).long()
    places = places.clamp(0, height * width - 1).reshape(batch, 1, -1).expand(batch, channels, -1)
    pixels = x.flatten(2).gather(2, places).reshape(batch, channels, *rows.shape[1:])
    return torch.where(inside[:, None], pixels, outside)


def _feature_map(call: OperatorCall) -> Tensor:
    x = call.tensor("x")
    if x.dim() != 4 or x.numel() == 0:
        raise call.faulty(f"needs a feature map of rank 4, not {tuple(x.shape)}")
    return x


_SAMPLING = ("sampling_mode", "padding_mode", "padding_value", "coordinates_mode", "align_corners")

OPERATORS: Operators = {
    "affine": Operator(
        affine, ("x", "transform_matrix", "output_height", "output_width", *_SAMPLING)
    ),
    "resample": Operator(resample, ("x", "coordinates", *_SAMPLING)),
}
