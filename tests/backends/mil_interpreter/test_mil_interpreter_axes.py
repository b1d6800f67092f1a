"""Products, reductions and normalisations compute what torch computes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

SHAPE = (2, 3, 5, 7)
VARIANCE = np.random.default_rng(4).uniform(0.5, 2, 3)


def reduced(name, reference, axes=(1, -1), keep_dims=False):
    """A case of a reduction."""
    return {
        "inputs": {"x": SHAPE},
        "mil": lambda mb, v: getattr(mb, name)(x=v["x"], axes=list(axes), keep_dims=keep_dims),
        "torch": lambda v: reference(v["x"], tuple(axes), keep_dims),
    }


def matmul(x, y, **transposed):
    """A case of ``matmul`` with either operand transposed."""
    return {
        "inputs": {"x": x, "y": y},
        "mil": lambda mb, v: mb.matmul(**v, **transposed),
        "torch": lambda v: torch.matmul(
            v["x"].mT if transposed.get("transpose_x") else v["x"],
            v["y"].mT if transposed.get("transpose_y") else v["y"],
        ),
    }


def layer_norm(axes, **weights):
    """A case of ``layer_norm`` whose reference moves the axes to the end."""
    rest = [axis for axis in range(4) if axis not in axes]
    order = rest + sorted(axes)

    def reference(v):
        moved = v["x"].permute(order)
        shape = moved.shape[len(rest) :]
        epsilon = float(v["epsilon"])
        result = functional.layer_norm(moved, shape, v.get("gamma"), v.get("beta"), epsilon)
        return result.permute([order.index(axis) for axis in range(4)])

    return {
        "inputs": {"x": SHAPE},
        "weights": weights | {"epsilon": 1e-3},
        "mil": lambda mb, v: mb.layer_norm(**v, axes=list(axes)),
        "torch": reference,
    }


CASES = {
    "linear": {
        "inputs": {"x": (2, 5, 7)},
        "weights": {"weight": (4, 7), "bias": (4,)},
        "mil": lambda mb, v: mb.linear(**v),
        "torch": lambda v: functional.linear(v["x"], v["weight"], v["bias"]),
    },
    "linear_without_bias": {
        "inputs": {"x": (5, 7)},
        "weights": {"weight": (4, 7)},
        "mil": lambda mb, v: mb.linear(**v),
        "torch": lambda v: functional.linear(v["x"], v["weight"]),
    },
    "matmul": matmul((2, 1, 5, 3), (4, 3, 7)),
    "matmul_transposed": matmul((2, 3, 5), (2, 7, 3), transpose_x=True, transpose_y=True),
    "matmul_transposed_y": matmul((2, 4, 5, 3), (2, 4, 6, 3), transpose_y=True),
    "einsum_4d": {
        "inputs": {"x": (1, 3, 5, 4), "y": (2, 4, 1, 6)},
        "mil": lambda mb, v: mb.einsum(values=(v["x"], v["y"]), equation="nchw,nwhu->nchu"),
        "torch": lambda v: torch.einsum("bchw,bwhu->bchu", v["x"], v["y"]),
    },
    "einsum_3d": {
        "inputs": {"x": (3, 5, 4), "y": (4, 5, 6)},
        "mil": lambda mb, v: mb.einsum(values=(v["x"], v["y"]), equation="chw,whr->chr"),
        "torch": lambda v: torch.einsum("chw,whr->chr", v["x"], v["y"]),
    },
    "batch_norm": {
        "inputs": {"x": SHAPE},
        "weights": {"mean": (3,), "variance": VARIANCE, "gamma": (3,), "beta": (3,)}
        | {"epsilon": 1e-3},
        "mil": lambda mb, v: mb.batch_norm(**v),
        "torch": lambda v: functional.batch_norm(
            v["x"], v["mean"], v["variance"], v["gamma"], v["beta"], eps=float(v["epsilon"])
        ),
    },
    "batch_norm_plain": {
        "inputs": {"x": (2, 3, 9)},
        "weights": {"mean": (3,), "variance": VARIANCE},
        "mil": lambda mb, v: mb.batch_norm(**v),
        "torch": lambda v: functional.batch_norm(v["x"], v["mean"], v["variance"]),
    },
    "instance_norm": {
        "inputs": {"x": SHAPE},
        "weights": {"gamma": (3,), "beta": (3,), "epsilon": 1e-3},
        "mil": lambda mb, v: mb.instance_norm(**v),
        "torch": lambda v: functional.instance_norm(
            v["x"], weight=v["gamma"], bias=v["beta"], eps=float(v["epsilon"])
        ),
    },
    "layer_norm_last": layer_norm((3,), gamma=(7,), beta=(7,)),
    "layer_norm_two": layer_norm((2, 3), gamma=(5, 7), beta=(5, 7)),
    "layer_norm_channels": layer_norm((1,), gamma=(3,), beta=(3,)),
    "layer_norm_apart": layer_norm((1, 3), gamma=(3, 7)),
    "layer_norm_all": layer_norm((0, 1, 2, 3)),
    "softmax": {
        "inputs": {"x": SHAPE},
        "mil": lambda mb, v: [mb.softmax(x=v["x"], axis=axis) for axis in (-1, 1, -2)],
        "torch": lambda v: [torch.softmax(v["x"], axis) for axis in (-1, 1, -2)],
    },
    "reduce_sum": reduced("reduce_sum", torch.sum, (2, 0), keep_dims=True),
    "reduce_mean": reduced("reduce_mean", torch.mean),
    "reduce_max": reduced("reduce_max", torch.amax),
    "reduce_min": reduced("reduce_min", torch.amin, (-3,), keep_dims=True),
    "reduce_l2_norm": reduced(
        "reduce_l2_norm", lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)
    ),
    "reduce_all": {
        "inputs": {"x": SHAPE},
        "mil": lambda mb, v: mb.reshape(x=mb.reduce_sum(x=v["x"]), shape=[1]),
        "torch": lambda v: v["x"].sum().reshape(1),
    },
    "reduce_argmax": {
        "inputs": {"x": SHAPE},
        "mil": lambda mb, v: (
            mb.reduce_argmax(x=v["x"], axis=-2),
            mb.reduce_argmax(x=v["x"], axis=1, keep_dims=True),
        ),
        "torch": lambda v: (v["x"].argmax(2), v["x"].argmax(1, keepdim=True)),
    },
}

ATTENTION_CASES = {
    "attention": {
        "inputs": {"query": (2, 3, 5, 4), "key": (2, 3, 7, 4), "value": (2, 3, 7, 6)},
        "mil": lambda mb, v: mb.scaled_dot_product_attention(**v),
        "torch": lambda v: functional.scaled_dot_product_attention(**v),
    },
    "attention_added_mask": {
        "inputs": {"query": (2, 5, 4), "key": (2, 7, 4), "value": (2, 7, 6), "attn_mask": (5, 7)},
        "mil": lambda mb, v: mb.scaled_dot_product_attention(**v),
        "torch": lambda v: functional.scaled_dot_product_attention(**v),
    },
    "attention_truth_mask": {
        "inputs": {"query": (2, 5, 4), "key": (2, 5, 4), "value": (2, 5, 4), "bias": (5, 5)},
        "weights": {"bound": 1.0},
        "mil": lambda mb, v: mb.scaled_dot_product_attention(
            query=v["query"],
            key=v["key"],
            value=v["value"],
            attn_mask=mb.less(x=v["bias"], y=v["bound"]),
        ),
        "torch": lambda v: functional.scaled_dot_product_attention(
            v["query"], v["key"], v["value"], v["bias"] < 1
        ),
    },
}


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def family(request, run_family):
    return run_family(CASES, request.param)


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def attention_family(request, run_family):
    return run_family(ATTENTION_CASES, request.param, opset="iOS18")


@pytest.mark.parametrize("name", CASES)
def test_operator_matches_torch(name, family):
    family.check(name)


@pytest.mark.parametrize("name", ATTENTION_CASES)
def test_attention_matches_torch(name, attention_family):
    attention_family.check(name)
