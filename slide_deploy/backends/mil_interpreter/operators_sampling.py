"""Operators that sample a feature map at given points; x (batch, channel, H, W)."""

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

# Names of torch for the padding, and whether the ends of an axis are the centres of its pixels.
_PADDINGS = {
    "constant": ("zeros", False),
    "border": ("border", False),
    "reflection": ("reflection", True),
    "symmetric": ("reflection", False),
}


def resample(call: OperatorCall) -> Tensor:
    """Sample at ``coordinates`` (batch, rows, columns, 2), with the column before the row.

    The ends of an axis are -1 and 1 in ``normalized_minus_one_to_one``, and 0 and 1 in
    ``normalized_zero_to_one``. With aligned corners the ends are the centres of the border pixels,
    otherwise their outer edges.
    """
    x, points = call.tensor("x"), call.tensor("coordinates").to(torch.float64)
    if x.dim() != 4 or x.numel() == 0:
        raise call.faulty(f"needs a feature map of rank 4, not {tuple(x.shape)}")
    if points.dim() != 4 or points.shape[0] != x.shape[0] or points.shape[3] != 2:
        raise call.faulty(f"has coordinates of shape {tuple(points.shape)}")
    call.check_size((*x.shape[:2], *points.shape[1:3]))
    padding, sampling = call.text("padding_mode").lower(), call.text("sampling_mode").lower()
    if padding not in _PADDINGS:
        raise call.unsupported(f"padding_mode {padding}")
    if sampling not in ("bilinear", "nearest"):
        raise call.unsupported(f"sampling_mode {sampling}")
    named, is_centred = _PADDINGS[padding]
    size = torch.tensor([x.shape[3], x.shape[2]], dtype=torch.float64)
    pixels = _in_pixels(call, points, size)
    centred, edged = 2 * pixels / (size - 1).clamp(min=1) - 1, (2 * pixels + 1) / size - 1
    outside = call.number("padding_value") if padding == "constant" else 0.0
    sampled = functional.grid_sample(
        x.double() - outside, centred if is_centred else edged, sampling, named, is_centred
    )
    return (sampled + outside).to(x.dtype)


def _in_pixels(call: OperatorCall, points: Tensor, size: Tensor) -> Tensor:
    """Convert coordinates to pixels, in which 0 is the centre of the first pixel."""
    mode, aligned = call.text("coordinates_mode"), call.flag("align_corners")
    if mode == "unnormalized":
        return points
    if mode == "normalized_minus_one_to_one":
        points = (points + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise call.unsupported(f"coordinates_mode {mode}")
    return points * (size - 1) if aligned else points * size - 0.5


OPERATORS: Operators = {
    "resample": Operator(
        resample,
        (
            *("x", "coordinates", "sampling_mode", "padding_mode", "padding_value"),
            *("coordinates_mode", "align_corners"),
        ),
    ),
}
