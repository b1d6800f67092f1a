"""Operators that normalise along axes."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators


def softmax(call: OperatorCall) -> Tensor:
    """``exp(x) / sum(exp(x))`` along one axis, the last one by default."""
    x = call.tensor("x")
    return torch.softmax(x, call.axis("axis", x.dim(), -1))


def layer_norm(call: OperatorCall) -> Tensor:
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


def instance_norm(call: OperatorCall) -> Tensor:
    """As ``layer_norm``, over the spatial axes of (batch, channel, ...space)."""
    x = call.tensor("x")
    if x.dim() < 3:
        raise call.faulty("needs spatial axes")
    axes = list(range(2, x.dim()))
    normalised = _normalised(x, axes, call.number("epsilon", 1e-5))
    return _scaled(call, normalised, _per_channel(x))


def batch_norm(call: OperatorCall) -> Tensor:
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


def _scaled(call: OperatorCall, x: Tensor, spread: list[int]) -> Tensor:
    """``gamma x + beta``; gamma and beta are optional, and reshaped to ``spread``."""
    gamma, beta = call.optional("gamma"), call.optional("beta")
    if gamma is not None:
        x = x * gamma.reshape(spread)
    return x if beta is None else x + beta.reshape(spread)


OPERATORS: Operators = {
    "batch_norm": Operator(batch_norm, ("x", "mean", "variance"), ("gamma", "beta", "epsilon")),
    "instance_norm": Operator(instance_norm, ("x",), ("gamma", "beta", "epsilon")),
    "layer_norm": Operator(layer_norm, ("x",), ("axes", "gamma", "beta", "epsilon")),
    "softmax": Operator(softmax, ("x",), ("axis",)),
}
