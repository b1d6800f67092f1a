"""Element by element, the interpreter computes what torch computes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

SHAPE = (2, 3, 5, 7)
POSITIVE = np.random.default_rng(1).uniform(0.1, 3, SHAPE)
WHOLE = np.random.default_rng(2).integers(-9, 9, (3, 5), dtype=np.int32)
NONZERO = np.random.default_rng(3).integers(1, 9, (5,), dtype=np.int32)


def one(name, reference, values=SHAPE, numbers=None, **parameters):
    """A case of one operand; ``numbers`` are parameters of the operand's type."""
    numbers = numbers or {}
    return {
        "inputs": {"x": values},
        "weights": numbers,
        "mil": lambda mb, v: getattr(mb, name)(
            x=v["x"], **{key: v[key] for key in numbers}, **parameters
        ),
        "torch": lambda v: reference(v["x"]),
    }


def two(name, reference, x=SHAPE, y=(3, 1, 7)):
    """A case of two operands that are broadcast."""
    return {
        "inputs": {"x": x, "y": y},
        "mil": lambda mb, v: getattr(mb, name)(x=v["x"], y=v["y"]),
        "torch": lambda v: reference(v["x"], v["y"]),
    }


CASES = {
    "abs": one("abs", torch.abs),
    "abs_int": one("abs", torch.abs, WHOLE),
    "ceil": one("ceil", torch.ceil),
    "cos": one("cos", torch.cos),
    "erf": one("erf", torch.erf),
    "exp": one("exp", torch.exp),
    "exp2": one("exp2", torch.exp2),
    "floor": one("floor", torch.floor),
    "identity": one("identity", lambda x: x),
    "relu": one("relu", functional.relu),
    "relu6": one("relu6", functional.relu6, 4 * POSITIVE - 1),
    "sigmoid": one("sigmoid", torch.sigmoid),
    "sign": one("sign", torch.sign),
    "silu": one("silu", functional.silu),
    "sin": one("sin", torch.sin),
    "softplus": one("softplus", functional.softplus),
    "sqrt": one("sqrt", torch.sqrt, POSITIVE),
    "square": one("square", torch.square),
    "tanh": one("tanh", torch.tanh),
    "clip": one("clip", lambda x: x.clamp(-0.5, 0.25), numbers={"alpha": -0.5, "beta": 0.25}),
    "leaky_relu": one(
        "leaky_relu", lambda x: functional.leaky_relu(x, 0.125), numbers={"alpha": 0.125}
    ),
    "inverse": one("inverse", lambda x: 1 / (x + 0.25), POSITIVE, numbers={"epsilon": 0.25}),
    "log": one("log", lambda x: torch.log(x + 0.5), POSITIVE, numbers={"epsilon": 0.5}),
    "log_default": one("log", torch.log, POSITIVE),
    "rsqrt": one("rsqrt", lambda x: torch.rsqrt(x + 0.5), POSITIVE, numbers={"epsilon": 0.5}),
    "rsqrt_default": one("rsqrt", torch.rsqrt, POSITIVE),
    "gelu": one("gelu", functional.gelu),
    "gelu_exact": one("gelu", functional.gelu, mode="EXACT"),
    "gelu_tanh": one(
        "gelu", lambda x: functional.gelu(x, approximate="tanh"), mode="TANH_APPROXIMATION"
    ),
    "gelu_sigmoid": one(
        "gelu", lambda x: x * torch.sigmoid(1.702 * x), mode="SIGMOID_APPROXIMATION"
    ),
    "cast_int": one("cast", lambda x: x.int(), 9 * POSITIVE - 9, dtype="int32"),
    "cast_bool": one("cast", lambda x: x != 0, np.array([0.0, -2.5, 1.0]), dtype="bool"),
    "cast_uint8": one("cast", lambda x: x.to(torch.uint8), 9 * POSITIVE, dtype="uint8"),
    "add": two("add", torch.add),
    "add_int": two("add", torch.add, WHOLE, NONZERO),
    "sub": two("sub", torch.sub),
    "mul": two("mul", torch.mul),
    "real_div": two("real_div", torch.div, SHAPE, POSITIVE),
    "floor_div": two("floor_div", torch.floor_divide, WHOLE, NONZERO),
    "mod": two("mod", torch.remainder, WHOLE, NONZERO),
    "maximum": two("maximum", torch.maximum),
    "minimum": two("minimum", torch.minimum),
    "pow": two("pow", torch.pow, POSITIVE, (7,)),
    "equal": two("equal", torch.eq, WHOLE, NONZERO),
    "not_equal": two("not_equal", torch.ne, WHOLE, NONZERO),
    "greater": two("greater", torch.gt),
    "greater_equal": two("greater_equal", torch.ge, WHOLE, NONZERO),
    "less": two("less", torch.lt),
    "less_equal": two("less_equal", torch.le, WHOLE, NONZERO),
    "logical": {
        "inputs": {"x": SHAPE, "y": (5, 7)},
        "mil": lambda mb, v: (
            mb.logical_and(x=mb.cast(x=v["x"], dtype="bool"), y=mb.less(x=v["y"], y=v["y"])),
            mb.logical_or(x=mb.less(x=v["x"], y=v["y"]), y=mb.less(x=v["y"], y=v["x"])),
            mb.logical_not(x=mb.less(x=v["x"], y=v["y"])),
        ),
        "torch": lambda v: (
            torch.logical_and(v["x"].bool(), v["y"] < v["y"]),
            torch.logical_or(v["x"] < v["y"], v["y"] < v["x"]),
            torch.logical_not(v["x"] < v["y"]),
        ),
    },
    "select": {
        "inputs": {"x": (5, 1), "a": SHAPE, "b": (3, 1, 7)},
        "weights": {"zero": 0.0},
        "mil": lambda mb, v: mb.select(cond=mb.less(x=v["x"], y=v["zero"]), a=v["a"], b=v["b"]),
        "torch": lambda v: torch.where(v["x"] < 0, v["a"], v["b"]),
    },
}


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def family(request, run_family):
    return run_family(CASES, request.param)


@pytest.mark.parametrize("name", CASES)
def test_operator_matches_torch(name, family):
    family.check(name)
