"""Reductions along axes, and cumulative sums."""

from collections.abc import Callable

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """Return the operator ``function(x, axes, keep_dims)``; by default it reduces all axes."""

    def run(call: OperatorCall) -> Tensor:
        x = call.tensor("x")
        axes = call.axes("axes", x.dim(), range(x.dim()))
        if not axes:
            raise call.unsupported("no axis to reduce")
        return function(x, axes, call.flag("keep_dims"))

    return Operator(run, ("x",), ("axes", "keep_dims"))


def reduce_l2_norm(x: Tensor, axes: list[int], keep_dims: bool) -> Tensor:
    """The square root of the sum of the squares."""
    return x.square().sum(axes, keep_dims).sqrt()


def reduce_prod(x: Tensor, axes: list[int], keep_dims: bool) -> Tensor:
    """The product."""
    for axis in reversed(axes):  # from the last, so that the other axes keep their indices
        x = x.prod(axis, keep_dims)
    return x


def _index(function: Callable[..., Tensor]) -> Operator:
    """Return the operator that finds an index along one axis, by default the last."""

    def run(call: OperatorCall) -> Tensor:
        x = call.tensor("x")
        if call.text("output_dtype", "int32") not in ("int32", "uint16"):
            raise call.unsupported(f"output_dtype {call.text('output_dtype')}")
        return function(x, call.axis("axis", x.dim(), -1), keepdim=call.flag("keep_dims"))

    return Operator(run, ("x",), ("axis", "keep_dims", "output_dtype"))


def cumsum(call: OperatorCall) -> Tensor:
    """Cumulative sums along an axis, by default the first.

    ``exclusive`` leaves out the element itself; ``reverse`` sums from the end.
    """
    x = call.tensor("x")
    axis = call.axis("axis", x.dim(), 0)
    ordered = x.flip(axis) if call.flag("reverse") else x
    # An exclusive sum is shifted, because subtracting the element would not be exact.
    sums = ordered.cumsum(axis)
    if call.flag("exclusive"):
        zero = torch.zeros_like(sums.narrow(axis, 0, 1))
        sums = torch.cat([zero, sums.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return sums.flip(axis) if call.flag("reverse") else sums


OPERATORS: Operators = {
    "cumsum": Operator(cumsum, ("x",), ("axis", "exclusive", "reverse")),
    "reduce_argmax": _index(torch.argmax),
    "reduce_argmin": _index(torch.argmin),
    "reduce_l2_norm": _reduction(reduce_l2_norm),
    "reduce_log_sum_exp": _reduction(torch.logsumexp),
    "reduce_max": _reduction(torch.amax),
    "reduce_mean": _reduction(torch.mean),
    "reduce_min": _reduction(torch.amin),
    "reduce_prod": _reduction(reduce_prod),
    "reduce_sum": _reduction(torch.sum),
}
