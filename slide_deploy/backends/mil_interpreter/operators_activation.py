"""Activations: functions of each element, some with a parameter per channel."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.operators_elementwise import unary


def leaky_relu(call: OperatorCall) -> Tensor:
    """``x`` where it is not negative, else ``alpha * x``."""
    return functional.leaky_relu(call.tensor("x"), call.number("alpha"))


def relu6(call: OperatorCall) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return call.tensor("x").clamp(0, 6)


def thresholded_relu(call: OperatorCall) -> Tensor:
    """``x`` where it is at least ``alpha``, else 0."""
    x = call.tensor("x")
    return torch.where(x >= call.number("alpha"), x, 0.0)


def prelu(call: OperatorCall) -> Tensor:
    """``x`` where it is positive, else ``alpha * x``; alpha (channels)."""
    x = call.tensor("x")
    return torch.where(x > 0, x, _of_channels(call, "alpha", x) * x)


def elu(call: OperatorCall) -> Tensor:
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""
    x = call.tensor("x")
    return torch.where(x > 0, x, call.number("alpha") * torch.expm1(x))


def gelu(call: OperatorCall) -> Tensor:
    """``x`` times the cumulative normal distribution at ``x``, exact or approximated.

    - ``EXACT``: ``x/2 (1 + erf(x / sqrt 2))``
    - ``TANH_APPROXIMATION``: ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``
    - ``SIGMOID_APPROXIMATION``: ``x sigmoid(1.702 x)``
    """
    x, mode = call.tensor("x"), call.text("mode", "EXACT")
    if mode == "EXACT":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise call.unsupported(f"mode {mode}")


def linear_activation(call: OperatorCall) -> Tensor:
    """``alpha * x + beta``."""
    return call.number("alpha") * call.tensor("x") + call.number("beta")


def sigmoid_hard(call: OperatorCall) -> Tensor:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return linear_activation(call).clamp(0, 1)


def softplus_parametric(call: OperatorCall) -> Tensor:
    """``alpha * log(1 + exp(beta * x))``; alpha and beta (channels)."""
    x = call.tensor("x")
    alpha, beta = _of_channels(call, "alpha", x), _of_channels(call, "beta", x)
    return alpha * torch.logaddexp(beta * x, torch.zeros(()))


def _of_channels(call: OperatorCall, name: str, x: Tensor) -> Tensor:
    """Return a parameter per channel (axis 1), reshaped to broadcast with x."""
    values = call.tensor(name)
    if x.dim() < 2 or values.shape != (x.shape[1],):
        raise call.faulty(f"has {name} of shape {tuple(values.shape)} for x {tuple(x.shape)}")
    return values.reshape(-1, *[1] * (x.dim() - 2))


OPERATORS: Operators = {
    "elu": Operator(elu, ("x", "alpha")),
    "gelu": Operator(gelu, ("x",), ("mode",)),
    "leaky_relu": Operator(leaky_relu, ("x", "alpha")),
    "linear_activation": Operator(linear_activation, ("x", "alpha", "beta")),
    "prelu": Operator(prelu, ("x", "alpha")),
    "relu": unary(torch.relu),
    "relu6": Operator(relu6, ("x",)),
    "sigmoid": unary(torch.sigmoid),
    "sigmoid_hard": Operator(sigmoid_hard, ("x", "alpha", "beta")),
    "silu": unary(functional.silu),
    "softplus": unary(functional.softplus),
    "softplus_parametric": Operator(softplus_parametric, ("x", "alpha", "beta")),
    "softsign": unary(functional.softsign),
    "tanh": unary(torch.tanh),
    "thresholded_relu": Operator(thresholded_relu, ("x", "alpha")),
}
