"""Parameters that no conversion from torch reaches mean what the operators' descriptions say."""

import numpy as np
import pytest
import torch
from torch.nn import functional

MAP = (2, 3, 5, 7)
ROWS = np.array([4, 0, 2], np.int32)
TWICE = np.array([3, 1, 3], np.int32)
UPDATES = np.random.default_rng(2).uniform(0.5, 2, (2, 3, 3, 7)).astype(np.float32)
POSITIVE = np.random.default_rng(3).uniform(0.5, 2, (2, 3, 5, 7)).astype(np.float32)
CHANNELS = np.array([0.5, -1.5, 2.0])


def one(reference, operator, x=MAP, **parameters):
    """A case of one operand."""
    return {
        "inputs": {"x": x},
        "mil": lambda mb, v: getattr(mb, operator)(x=v["x"], **parameters),
        "torch": lambda v: reference(v["x"]),
    }


def reduced(operator, reference):
    """A case of a reduction of positive numbers over two axes."""
    return {
        "inputs": {"x": POSITIVE},
        "mil": lambda mb, v: getattr(mb, operator)(x=v["x"], axes=[-1, 1], keep_dims=True),
        "torch": lambda v: reference(v["x"], (1, 3)),
    }


def activation(operator, reference, **weights):
    """A case of an activation whose numbers have the type of x."""
    return {
        "inputs": {"x": MAP},
        "weights": weights,
        "mil": lambda mb, v: getattr(mb, operator)(**v),
        "torch": lambda v: reference(**v),
    }


def spread(values):
    """One number a channel, for a map."""
    return values.reshape(1, -1, 1, 1)


def written(mode, combine):
    """A case of ``scatter`` in which two updates meet in one row."""

    def reference(v):
        result = v["data"].clone()
        for index, row in enumerate(TWICE):
            result[:, :, row] = combine(result[:, :, row], v["updates"][:, :, index])
        return result

    return {
        "inputs": {"data": MAP},
        "weights": {"updates": UPDATES},
        "mil": lambda mb, v: mb.scatter(**v, indices=TWICE, axis=-2, mode=mode),
        "torch": reference,
    }


def gathered(x, indices):
    """Rows of each image by indices of its own."""
    return torch.stack([part[:, chosen] for part, chosen in zip(x, indices, strict=True)])


def mirrored_map(x, columns, rows):
    """Three copies of a map on either side of it, mirrored with their border."""
    tall = torch.cat([x.flip(2), x, x.flip(2)], 2)
    wide = torch.cat([tall.flip(3), tall, tall.flip(3)], 3)
    return wide[:, :, rows + x.shape[2], columns + x.shape[3]]


CASES = {
    "linear_activation": activation(
        "linear_activation", lambda x, alpha, beta: alpha * x + beta, alpha=-0.5, beta=0.25
    ),
    "softplus_parametric": activation(
        "softplus_parametric",
        lambda x, alpha, beta: spread(alpha) * functional.softplus(spread(beta) * x),
        alpha=CHANNELS,
        beta=CHANNELS[::-1],
    ),
    "softsign": one(functional.softsign, "softsign"),
    "thresholded_relu": activation(
        "thresholded_relu", lambda x, alpha: functional.threshold(x, float(alpha), 0), alpha=-0.5
    ),
    "reduce_log_sum_exp": reduced("reduce_log_sum_exp", lambda x, a: x.exp().sum(a, True).log()),
    "reduce_prod": reduced("reduce_prod", lambda x, a: x.prod(1, True).prod(3, True)),
    "cumsum_of_others": one(
        lambda x: functional.pad(x.cumsum(2), (0, 0, 1, -1)), "cumsum", axis=2, exclusive=True
    ),
    "cumsum_from_the_end": one(
        lambda x: x.flip(1).cumsum(1).flip(1), "cumsum", axis=1, reverse=True
    ),
    "cumsum_of_those_behind": one(
        lambda x: functional.pad(x.flip(3).cumsum(3).flip(3), (-1, 1)),
        "cumsum",
        axis=-1,
        exclusive=True,
        reverse=True,
    ),
    "range_1d": {
        "mil": lambda mb, v: mb.range_1d(start=-2, end=8, step=3),
        "torch": lambda v: torch.arange(-2, 8, 3),
    },
    "fill_like": one(lambda x: torch.full_like(x, 2).int(), "fill_like", x=(2, 3))
    | {"mil": lambda mb, v: mb.fill_like(ref_tensor=v["x"], value=np.int32(2))},
    "reverse_all": one(lambda x: x.flip(0, 1, 2, 3), "reverse"),
    "band_part": one(lambda x: x.tril(2).triu(-1), "band_part", lower=1, upper=2),
    "crop": one(lambda x: x[:, :, 1:3, :6], "crop", crop_height=[1, 2], crop_width=[0, 1]),
    "gather_batches": {
        "inputs": {"x": MAP},
        "weights": {"indices": np.array([[4, 0], [1, 1]], np.int32)},
        "mil": lambda mb, v: mb.gather(**v, axis=2, batch_dims=1),
        "torch": lambda v: gathered(v["x"], v["indices"]),
    },
    "gather_nd_batches": {
        "inputs": {"x": MAP},
        "weights": {"indices": np.array([[[2, 4], [0, 1]], [[1, 1], [2, 0]]], np.int32)},
        "mil": lambda mb, v: mb.gather_nd(**v, batch_dims=1),
        "torch": lambda v: torch.stack(
            [v["x"][[0, 0], [2, 0], [4, 1]], v["x"][[1, 1], [1, 2], [1, 0]]]
        ),
    },
    "scatter_add": written("add", torch.add),
    "scatter_div": written("div", torch.div),
    "scatter_max": written("max", torch.maximum),
    "scatter_min": written("min", torch.minimum),
    "scatter_mul": written("mul", torch.mul),
    "scatter_sub": written("sub", torch.sub),
    "scatter_update": written("update", lambda old, new: new),
    "topk_of_all": one(
        lambda x: x.sort(2)[0], "topk", k=5, axis=2, ascending=True, return_indices=False
    ),
    "topk_default": one(lambda x: [x.max(-1, True)[0], x.max(-1, True)[1]], "topk"),
    "argsort_ascending": one(lambda x: x.argsort(1), "argsort", axis=1, ascending=True),
    "one_hot_first": {
        "inputs": {"x": MAP},
        "weights": {"on": 2.5, "off": -1.0},
        "mil": lambda mb, v: mb.one_hot(
            indices=mb.reduce_argmax(x=v["x"], axis=2),
            one_hot_vector_size=6,
            axis=1,
            on_value=v["on"],
            off_value=v["off"],
        ),
        "torch": lambda v: functional.one_hot(v["x"].argmax(2), 6).movedim(-1, 1) * 3.5 - 1,
    },
    "resample_mirrored": {
        "inputs": {"x": (1, 3, 5, 7)},
        "weights": {
            "coordinates": np.array([[[[-3, 2], [7, -1]], [[8, 9], [6, 4]]]], np.int32),
            "padding_value": 0.0,
        },
        "mil": lambda mb, v: mb.resample(
            **v,
            sampling_mode="nearest",
            padding_mode="symmetric",
            coordinates_mode="unnormalized",
            align_corners=False,
        ),
        "torch": lambda v: mirrored_map(
            v["x"], v["coordinates"][0, ..., 0], v["coordinates"][0, ..., 1]
        ),
    },
}


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def family(request, run_family):
    return run_family(CASES, request.param)


@pytest.mark.parametrize("name", CASES)
def test_a_parameter_has_its_documented_meaning(name, family):
    family.check(name)
