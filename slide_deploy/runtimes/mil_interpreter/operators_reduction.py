"""Operators that fold axes away, and those that normalise along axes."""

from collections.abc import Callable

import torch
from torch import Tensor

from slide_deploy.runtimes.mil_interpreter.call import Call


def reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[Call], Tensor]:
    """The operator ``function(x, axes, keep_dims)``; all axes if none are given."""

    def run(call: Call) -> Tensor:
        x = call.tensor("x")
        axes = call.axes("axes", x.dim(), range(x.dim()))
        if not axes:
            raise call.unsupported("no axis to reduce")
        return function(x, axes, call.flag("keep_dims"))

    return run


def reduce_sum_square(x: Tensor, axes: list[int], keep_dims: bool) -> Tensor:
    """The sum of the squares."""
    return x.square().sum(axes, keep_dims)


def reduce_l2_norm(x: Tensor, axes: list[int], keep_dims: bool) -> Tensor:
    """The square root of the sum of the squares."""
    return x.square().sum(axes, keep_dims).sqrt()


def reduce_argmax(call: Call) -> Tensor:
    """The index of the largest element along one axis, the last one by default."""
    x = call.tensor("x")
    if call.text("output_dtype", "int32") not in ("int32", "uint16"):
        raise call.unsupported(f"output_dtype {call.text('output_dtype')}")
    return x.argmax(call.axis("axis", x.dim(), -1), keepdim=call.flag("keep_dims"))


def softmax(call: Call) -> Tensor:
    """``exp(x) / sum(exp(x))`` along one axis, the last one by default."""
    x = call.tensor("x")
    return torch.softmax(x, call.axis("axis", x.dim(), -1))


def layer_norm(call: Call) -> Tensor:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta`` over ``axes``, by default all.

    ``gamma`` and ``beta`` have the sizes of those axes.
    """
    x = call.tensor("x")
    axes = call.axes("axes", x.dim(), range(x.dim()))
    if not axes:
        raise call.unsupported("no axis to normalise")
    normalised = _normalised(x, axes, call.number("epsilon", 1e-5))
    spread = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    return _scaled(call, normalised, spread)


def instance_norm(call: Call) -> Tensor:
    """As ``layer_norm``, over the spatial axes of (batch, channel, ...space)."""
    x = call.tensor("x")
    if x.dim() < 3:
        raise call.faulty("needs spatial axes")
    axes = list(range(2, x.dim()))
    normalised = _normalised(x, axes, call.number("epsilon", 1e-5))
    return _scaled(call, normalised, _per_channel(x))


def batch_norm(call: Call) -> Tensor:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``, all four given per channel."""
    x = call.tensor("x")
    if x.dim() < 2:
        raise call.faulty("needs a channel axis")
    spread = _per_channel(x)
    mean, variance = call.tensor("mean").reshape(spread), call.tensor("variance").reshape(spread)
    normalised = (x - mean) / torch.sqrt(variance + call.number("epsilon", 1e-5))
    return _scaled(call, normalised, spread)


def _per_channel(x: Tensor) -> list[int]:
    return [size if axis == 1 else 1 for axis, size in enumerate(x.shape)]


def _normalised(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + epsilon)


def _scaled(call: Call, x: Tensor, spread: list[int]) -> Tensor:
    """``gamma x + beta``, both reshaped to ``spread``, both optional."""
    gamma, beta = call.optional("gamma"), call.optional("beta")
    if gamma is not None:
        x = x * gamma.reshape(spread)
    return x if beta is None else x + beta.reshape(spread)
