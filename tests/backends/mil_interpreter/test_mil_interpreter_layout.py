"""Operators that rearrange and pick elements put each one where torch puts it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

SHAPE = (2, 3, 5, 7)
PLACES = np.array([[4, 0, 2], [1, 1, 3]], np.int32)


def one(reference, operator, x=SHAPE, **parameters):
    """A case of one operand."""
    return {
        "inputs": {"x": x},
        "mil": lambda mb, v: getattr(mb, operator)(x=v["x"], **parameters),
        "torch": lambda v: reference(v["x"]),
    }


CASES = {
    "reshape": one(lambda x: x.reshape(6, 35), "reshape", shape=[6, 35]),
    "reshape_rest": one(lambda x: x.reshape(2, 105), "reshape", shape=[2, -1]),
    "reshape_kept": one(lambda x: x.reshape(2, 15, 1, 7), "reshape", shape=[2, -1, 1, 0]),
    "reshape_kept_from_back": one(
        lambda x: x.reshape(1, 1, 2, 50), "reshape", (2, 50), shape=[1, 0, -1, 0]
    ),
    "transpose": one(lambda x: x.permute(2, 0, 3, 1), "transpose", perm=[2, 0, -1, 1]),
    "expand_dims": one(lambda x: x[:, None, :, None], "expand_dims", (2, 3), axes=[1, -1]),
    "squeeze": one(lambda x: x[:, 0, :, 0], "squeeze", (3, 1, 4, 1), axes=[1, -1]),
    "squeeze_all": one(lambda x: x.squeeze(), "squeeze", (1, 3, 1, 4)),
    "tile": one(lambda x: x.repeat(2, 1, 3), "tile", (2, 3, 4), reps=[2, 1, 3]),
    "shape": one(lambda x: torch.tensor(x.shape), "shape"),
    "pixel_shuffle": one(
        lambda x: functional.pixel_shuffle(x, 2), "pixel_shuffle", (1, 12, 3, 5), upscale_factor=2
    ),
    "concat": {
        "inputs": {"a": (2, 3, 4), "b": (2, 5, 4), "c": (2, 1, 4)},
        "mil": lambda mb, v: mb.concat(values=[v["a"], v["b"], v["c"]], axis=-2),
        "torch": lambda v: torch.cat([v["a"], v["b"], v["c"]], 1),
    },
    "concat_interleaved": {
        "inputs": {"a": (2, 3, 4), "b": (2, 3, 4)},
        "mil": lambda mb, v: mb.concat(values=[v["a"], v["b"]], axis=1, interleave=True),
        "torch": lambda v: torch.stack([v["a"], v["b"]], 2).reshape(2, 6, 4),
    },
    "stack": {
        "inputs": {"a": (2, 3), "b": (2, 3), "c": (2, 3)},
        "mil": lambda mb, v: [mb.stack(values=[v["a"], v["b"], v["c"]], axis=a) for a in (0, -1)],
        "torch": lambda v: [torch.stack([v["a"], v["b"], v["c"]], a) for a in (0, 2)],
    },
    "split_equal": one(lambda x: x.chunk(3, 1), "split", axis=1, num_splits=3),
    "split_sizes": one(lambda x: x.split([1, 4, 2], 3), "split", axis=-1, split_sizes=[1, 4, 2]),
    "slice": one(
        lambda x: x[1:2, 0:3:2, 1:-1, 2:],
        "slice_by_index",
        begin=[1, 0, 1, 2],
        end=[2, 3, -1, 7],
        stride=[1, 2, 1, 1],
    ),
    "slice_masks": one(
        lambda x: x[:, 1:, :4, ::3],
        "slice_by_index",
        begin=[1, 1, 3, 9],
        end=[0, 1, 4, 1],
        stride=[1, 1, 1, 3],
        begin_mask=[True, False, True, True],
        end_mask=[True, True, False, True],
    ),
    "slice_backwards": one(
        lambda x: x.flip(3)[:, :, :, ::2][:, :, 1:4].flip(2),
        "slice_by_index",
        begin=[0, 0, 3, 0],
        end=[2, 3, 0, 0],
        stride=[1, 1, -1, -2],
        begin_mask=[False, False, False, True],
        end_mask=[False, False, False, True],
    ),
    "slice_squeeze": one(
        lambda x: x[1, :, -2, 2:5],
        "slice_by_index",
        begin=[1, 0, -2, 2],
        end=[0, 3, 0, 5],
        squeeze_mask=[True, False, True, False],
    ),
    "slice_by_size": one(
        lambda x: x[0:1, 1:3, 2:5, 5:7],
        "slice_by_size",
        begin=[0, 1, 2, -2],
        size=[1, 2, -1, 2],
    ),
    "gather": one(lambda x: x[:, :, PLACES], "gather", indices=PLACES, axis=2),
    "gather_negative_axis": one(lambda x: x[..., [6, 0]], "gather", indices=[6, 0], axis=-1),
    "gather_one": one(lambda x: x[:, 2], "gather", indices=2, axis=1),
    "gather_along_axis": {
        "inputs": {"x": (2, 5, 3)},
        "weights": {"indices": np.array([[[4, 0, 2], [1, 1, 3]]] * 2, np.int32)},
        "mil": lambda mb, v: mb.gather_along_axis(x=v["x"], indices=v["indices"], axis=1),
        "torch": lambda v: v["x"].gather(1, v["indices"].long()),
    },
    "gather_nd": {
        "inputs": {"x": (2, 5, 3)},
        "weights": {"indices": np.array([[[1, 4], [0, 2]]], np.int32)},
        "mil": lambda mb, v: mb.gather_nd(x=v["x"], indices=v["indices"]),
        "torch": lambda v: torch.stack([v["x"][1, 4], v["x"][0, 2]])[None],
    },
    "pad": {
        "inputs": {"x": SHAPE},
        "weights": {"constant_val": -1.5},
        "mil": lambda mb, v: mb.pad(**v, pad=[1, 0, 2, 3], mode="constant"),
        "torch": lambda v: functional.pad(v["x"], (2, 3, 1, 0), value=-1.5),
    },
    "pad_all": one(
        lambda x: functional.pad(x, (7, 8, 5, 6, 3, 4, 1, 2)), "pad", pad=[1, 2, 3, 4, 5, 6, 7, 8]
    ),
    "pad_reflect": one(
        lambda x: functional.pad(x, (6, 1, 0, 4), mode="reflect"),
        "pad",
        pad=[0, 4, 6, 1],
        mode="reflect",
    ),
    "pad_replicate": one(
        lambda x: functional.pad(x, (0, 3, 2, 1), mode="replicate"),
        "pad",
        pad=[2, 1, 0, 3],
        mode="replicate",
    ),
    "fill": {
        "inputs": {"x": (2, 3)},
        "weights": {"value": 0.75},
        "mil": lambda mb, v: mb.add(
            x=v["x"], y=mb.fill(shape=mb.shape(x=v["x"]), value=v["value"])
        ),
        "torch": lambda v: v["x"] + 0.75,
    },
}

OLD_CASES = {
    "reshape_kept": one(lambda x: x.reshape(2, 15, 1, 7), "reshape", shape=[0, -1, 1, 0]),
    "gather_negative_index": one(lambda x: x[:, [-1, 0]], "gather", indices=[-1, 0], axis=1),
    "slice": one(lambda x: x[:, 1:2], "slice_by_index", begin=[0, 1, 0, 0], end=[2, 2, 5, 7]),
}


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def family(request, run_family):
    return run_family(CASES, request.param)


@pytest.fixture(scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)])
def old_family(request, run_family):
    return run_family(OLD_CASES, request.param, opset="iOS16")


@pytest.mark.parametrize("name", CASES)
def test_operator_matches_torch(name, family):
    family.check(name)


@pytest.mark.parametrize("name", OLD_CASES)
def test_operator_of_an_older_set_matches_torch(name, old_family):
    old_family.check(name)
