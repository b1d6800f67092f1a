"""Quantisation to 8-bit integers and back, per tensor or per channel of an axis."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

_INTEGERS = {"int8": torch.int8, "uint8": torch.uint8}


def quantize(call: OperatorCall) -> Tensor:
    """``round(input / scale) + zero_point``, clamped to the range of ``output_dtype``."""
    dtype = call.text("output_dtype")
    if dtype not in _INTEGERS:
        raise call.unsupported(f"output_dtype {dtype}")
    limits = torch.iinfo(_INTEGERS[dtype])
    rounded = (call.tensor("input") / _spread(call, "scale")).round()
    shifted = rounded + _spread(call, "zero_point")
    return shifted.clamp(limits.min, limits.max).to(_INTEGERS[dtype])


def dequantize(call: OperatorCall) -> Tensor:
    """``scale * (input - zero_point)``."""
    return _spread(call, "scale") * (call.tensor("input").float() - _spread(call, "zero_point"))


def _spread(call: OperatorCall, name: str) -> Tensor:
    """Return a scale or zero point, reshaped to broadcast with the input; 0 if it is left out."""
    values, rank = call.optional(name), call.tensor("input").dim()
    if values is None:
        return torch.zeros(())
    if values.dim() == 0:
        return values.float()
    axis = call.axis("axis", rank)
    if values.shape != (call.tensor("input").shape[axis],):
        raise call.faulty(f"has {name} of shape {tuple(values.shape)}")
    return values.float().reshape([-1 if place == axis else 1 for place in range(rank)])


OPERATORS: Operators = {
    "dequantize": Operator(dequantize, ("input", "scale"), ("zero_point", "axis")),
    "quantize": Operator(quantize, ("input", "scale", "output_dtype"), ("zero_point", "axis")),
}
