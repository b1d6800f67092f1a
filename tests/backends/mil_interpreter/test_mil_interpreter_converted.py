"""Functions of torch, converted by coremltools, answer as torch does; sizes are odd on purpose."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.backends.mil_interpreter.conversion import Case, convert_all

MAP = (2, 3, 5, 7)
RANDOM = torch.Generator().manual_seed(3)
PLACES = torch.randint(0, 5, (2, 3, 4, 7), generator=RANDOM)
ROWS = torch.tensor([4, 0, 2])
PAIRS = (torch.tensor([1, 0]), torch.tensor([4, 0]))
TWICE = torch.tensor([1, 1])
UPDATES = torch.randn(2, 3, 4, 7, generator=RANDOM)
# Far beyond the map, too.
GRID = torch.rand(2, 4, 6, 2, generator=RANDOM) * 3 - 1.5
KERNEL = torch.randn(3, 2, 3, 2, generator=RANDOM)


def assigned(x):
    """An assignment to a slice with a step."""
    result = x.clone()
    result[:, 1, 1:4, ::2] = 0.5
    return result


def one(function, operators, *shapes):
    """A case of one map, or of the given shapes."""
    return Case(function, shapes or (MAP,), operators)


def sampled(**options):
    """A case of ``grid_sample``."""
    return one(lambda x: functional.grid_sample(x, GRID, **options), "resample")


def scaled(operator, x=MAP, **options):
    """A case of ``interpolate``."""
    return one(lambda x: functional.interpolate(x, **options), operator, x)


CASES = {
    # activations
    "elu": one(lambda x: functional.elu(x, 0.7), "elu"),
    "hardsigmoid": one(functional.hardsigmoid, "sigmoid_hard"),
    "hardswish": one(functional.hardswish, "thresholded_relu sigmoid_hard"),
    "hardtanh": one(lambda x: functional.hardtanh(x, -0.4, 0.7), "clip"),
    "mish": one(functional.mish, "softplus tanh"),
    "prelu": one(lambda x: functional.prelu(x, torch.tensor([0.1, 0.2, -0.3])), "prelu"),
    "selu": one(functional.selu, "elu"),
    "softplus": one(lambda x: functional.softplus(x, beta=2.5), "softplus_parametric"),
    "softsign": one(functional.softsign, ""),
    "threshold": one(lambda x: functional.threshold(x, 0.2, 0.2), "threshold"),
    # elements
    "acos": one(lambda x: torch.acos(x.tanh()), "acos"),
    "asin": one(lambda x: torch.asin(x.tanh()), "asin"),
    "atan": one(torch.atan, "atan"),
    "atan2": one(torch.atan2, "atan", MAP, MAP),
    "atanh": one(lambda x: torch.atanh(0.9 * x.tanh()), "atanh"),
    "cosh": one(torch.cosh, "cosh"),
    "nan_to_num": one(torch.nan_to_num, "non_zero tile scatter_nd"),
    "remainder": one(torch.remainder, "floor_div", MAP, MAP),
    "round": one(lambda x: torch.round(3 * x), "round"),
    "sinh": one(torch.sinh, "sinh"),
    "tan": one(lambda x: torch.tan(x.tanh()), "tan"),
    "xor": one(lambda x, y: torch.logical_xor(x > 0, y > 0), "logical_xor", MAP, MAP),
    # along axes
    "all": one(lambda x: (x > -1).all(1), "reduce_min"),
    "argmin": one(lambda x: x.argmin(2), "reduce_argmin"),
    "cumsum": one(lambda x: x.cumsum(2), "cumsum"),
    "logcumsumexp": one(lambda x: torch.logcumsumexp(x, 1), "cumsum"),
    "logsumexp": one(lambda x: x.logsumexp((1, 2)), "reduce_log_sum_exp"),
    "norm": one(lambda x: torch.norm(x, dim=1), "reduce_l2_norm"),
    "norm_1": one(lambda x: torch.linalg.vector_norm(x, 1, (1, 2)), ""),
    # order and choice
    "argsort": one(lambda x: x.argsort(3), "argsort"),
    "nonzero": one(lambda x: torch.nonzero(x > 0), "non_zero", (3, 5)),
    "one_hot": one(lambda x: functional.one_hot(x.argmax(1), 3), "one_hot"),
    "sort": one(lambda x: torch.sort(x, dim=1)[0], "topk"),
    "topk": one(lambda x: torch.cat([part.float() for part in torch.topk(x, 4, 2)]), "topk"),
    "topk_smallest": one(lambda x: torch.topk(x, 3, -1, largest=False)[0], "topk"),
    # by position
    "assigned": one(assigned, ""),
    "gather": one(lambda x: x.gather(2, PLACES), "gather_along_axis"),
    "index_put": one(
        lambda x: x.index_put((PAIRS[0], PAIRS[1]), torch.ones(2, 5, 7)),
        "scatter_nd",
        (2, 5, 5, 7),
    ),
    "index_put_added": one(
        lambda x: x.index_put((TWICE,), torch.ones(2, 3, 5, 7), accumulate=True),
        "scatter_nd",
    ),
    "index_select": one(lambda x: x.index_select(2, ROWS), "gather"),
    "scatter": one(
        lambda x: x.scatter(2, ROWS[:, None].expand(2, 3, 3, 7), UPDATES[:, :, :3]),
        "scatter_along_axis",
    ),
    "scatter_add": one(lambda x: x.scatter_add(2, PLACES, UPDATES), "scatter_along_axis"),
    "select_scatter": one(lambda x: torch.select_scatter(x, torch.zeros(2, 5, 7), 1, 1), ""),
    "slice_scatter": one(lambda x: torch.slice_scatter(x, torch.zeros(2, 3, 2, 7), 2, 1, 5, 2), ""),
    # rearrangement
    "flip": one(lambda x: x.flip(1, 3), "reverse"),
    "pixel_shuffle": one(lambda x: functional.pixel_shuffle(x, 2), "pixel_shuffle", (2, 12, 3, 5)),
    "pixel_unshuffle": one(
        lambda x: functional.pixel_unshuffle(x, 2), "pixel_unshuffle", (2, 3, 4, 6)
    ),
    "repeat_interleave": one(lambda x: x.repeat_interleave(2, 1), ""),
    "roll": one(lambda x: x.roll((1, -2), (2, 3)), ""),
    "tril": one(lambda x: x.tril(-1), "band_part"),
    "triu": one(lambda x: x.triu(1), "band_part"),
    "unfold": one(lambda x: functional.unfold(x, (3, 2), padding=1, stride=2), ""),
    # scaling and sampling
    "bilinear": scaled("upsample_bilinear", scale_factor=2, mode="bilinear"),
    "bilinear_aligned": scaled(
        "upsample_bilinear", size=(9, 4), mode="bilinear", align_corners=True
    ),
    "bilinear_down": scaled("upsample_bilinear", size=(3, 4), mode="bilinear"),
    "linear": scaled("upsample_bilinear", (2, 3, 7), scale_factor=3, mode="linear"),
    "nearest": scaled("upsample_nearest_neighbor", scale_factor=2),
    "nearest_1d": scaled("upsample_nearest_neighbor", (2, 3, 7), scale_factor=3),
    "nearest_broken": scaled("upsample_nearest_neighbor", scale_factor=(1.4, 2)),
    "nearest_size": scaled("upsample_nearest_neighbor", size=(8, 21)),
    "sampled": sampled(align_corners=False),
    "sampled_border": sampled(padding_mode="border", align_corners=True),
    "sampled_nearest": sampled(mode="nearest", align_corners=False),
    "sampled_reflected": sampled(padding_mode="reflection", align_corners=True),
    "sampled_mirrored": sampled(padding_mode="reflection", align_corners=False),
    # layers
    "attention": one(
        functional.scaled_dot_product_attention,
        "softmax matmul",
        (2, 3, 5, 4),
        (2, 3, 7, 4),
        (2, 3, 7, 4),
    ),
    "average_rounded_up": one(
        lambda x: functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True), "avg_pool"
    ),
    "convolved_back": one(
        lambda x: functional.conv_transpose2d(x, KERNEL, stride=2, padding=1, output_padding=1),
        "conv_transpose",
    ),
    "convolved_back_dilated": one(
        lambda x: functional.conv_transpose2d(x, KERNEL, dilation=2), "conv_transpose"
    ),
    "instance_norm": one(
        lambda x: functional.instance_norm(
            x, weight=torch.tensor([1.0, 2, 0.5]), bias=torch.ones(3)
        ),
        "instance_norm",
    ),
    "local_response_norm": one(lambda x: functional.local_response_norm(x, 3, 0.1, 0.6, 1.5), ""),
    "maximum_rounded_up": one(
        lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True), "max_pool"
    ),
    "padded": one(lambda x: functional.pad(x, (2, 1, 3, 0), mode="reflect"), "pad"),
}


TRACED = {"assigned": one(assigned, "scatter")}
# What a newer operator set writes otherwise.
NEWER = {
    **{name: CASES[name] for name in ("gather", "scatter", "topk", "nearest_size", "index_put")},
    "attention": replace(CASES["attention"], operators="scaled_dot_product_attention"),
    "slice_scatter": replace(CASES["slice_scatter"], operators="slice_update"),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    return convert_all(CASES, tmp_path_factory.mktemp("converted") / "cases.mlpackage", "iOS16")


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    return convert_all(NEWER, tmp_path_factory.mktemp("newer") / "cases.mlpackage", "iOS18")


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    path = tmp_path_factory.mktemp("traced") / "cases.mlpackage"
    return convert_all(TRACED, path, "iOS17", traced=True)


@pytest.mark.parametrize("name", CASES)
def test_a_converted_function_matches_torch(name, converted):
    converted.check(name)
    assert set(CASES[name].operators.split()) <= converted.operators


@pytest.mark.parametrize("name", NEWER)
def test_a_function_for_a_newer_system_matches_torch(name, newer):
    newer.check(name)
    assert set(NEWER[name].operators.split()) <= newer.operators


@pytest.mark.parametrize("name", TRACED)
def test_a_traced_function_matches_torch(name, traced):
    traced.check(name)
    assert set(TRACED[name].operators.split()) <= traced.operators
