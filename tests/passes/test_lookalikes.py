"""Random networks that resemble the pattern of a pass, but that its conditions exclude."""

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from torch import nn

from tests.passes.random_networks import parts
from tests.passes.random_networks.builder import Builder, RandomNetwork, Value
from tests.passes.random_networks.checks import hold_each_alone, source_of


def keeping(b: Builder, x: Value, side: int = 3, **options) -> Value:
    """A convolution that keeps channels and positions."""
    kind = parts.CONVOLUTIONS[x.dims]
    layer = kind(x.channels, x.channels, side, padding=side // 2, bias=b.chance(), **options)
    return b.apply(b.trained(layer), x)


def added(b: Builder, one: Value, other: Value) -> Value:
    return b.apply("add", torch.add, *((one, other) if b.chance() else (other, one)))


def normal(b: Builder, x: Value) -> Value:
    """A normalisation with a weight and a bias."""
    return b.apply(b.trained(nn.LayerNorm(x.channels)), x)


def behind_an_activation(b: Builder, x: Value) -> list[Value]:
    return [added(b, keeping(b, x), b.apply(nn.GELU(), keeping(b, x, 1)))]


def of_another_value(b: Builder, x: Value) -> list[Value]:
    return [added(b, keeping(b, x), keeping(b, b.apply(nn.Tanh(), x), b.choose((1, 3))))]


def multiplied(b: Builder, x: Value) -> list[Value]:
    return [b.apply("mul", torch.mul, keeping(b, x), keeping(b, x, 1))]


def padded_otherwise(b: Builder, x: Value) -> list[Value]:
    mode = b.choose(("replicate", "circular"))
    return [added(b, keeping(b, x, padding_mode=mode), keeping(b, x, 1))]


def both_are_outputs(b: Builder, x: Value) -> list[Value]:
    one, other = keeping(b, x), keeping(b, x, 1)
    return [added(b, one, other), one, other]


def statistics_of_the_batch(b: Builder, x: Value) -> list[Value]:
    layer = b.trained(parts.NORMS[x.dims](x.channels, track_running_stats=False))
    return [b.apply(layer, keeping(b, x))]


def normalisation_is_an_output(b: Builder, x: Value) -> list[Value]:
    value = normal(b, parts.to_tokens(b, x))
    return [parts.linear(b, value), value]


def normalisation_meets_another_operator(b: Builder, x: Value) -> list[Value]:
    value = normal(b, parts.to_tokens(b, x))
    return [parts.linear(b, value, x.channels), b.apply(nn.ReLU(), value)]


def normalisation_in_front_of_padding(b: Builder, x: Value) -> list[Value]:
    value = parts.unflatten_alike(b, normal(b, parts.to_tokens(b, x)))
    return [keeping(b, value)]


def sum_is_not_zero(b: Builder, x: Value) -> list[Value]:
    layer = nn.RMSNorm(x.channels, elementwise_affine=False)
    return [parts.linear(b, b.apply(b.trained(layer), parts.to_tokens(b, x)))]


def factor_of_positions(b: Builder, x: Value) -> list[Value]:
    value = parts.linear(b, parts.to_tokens(b, x))
    factor = b.normal(value.example.shape[1], 1)
    return [b.apply("mul", parts.WithConstant(torch.mul, factor, b.chance()), value)]


def factor_of_a_value(b: Builder, x: Value) -> list[Value]:
    tokens = parts.to_tokens(b, x)
    gate = b.apply(nn.Sigmoid(), tokens)
    return [b.apply("mul", torch.mul, parts.linear(b, tokens, x.channels), gate)]


def constants_with_an_operator_between(b: Builder, x: Value) -> list[Value]:
    for _ in range(2):
        constant = parts.WithConstant(torch.add, b.normal(*x.example.shape[1:]), b.chance())
        x = b.apply(nn.Tanh(), b.apply("add", constant, x))
    return [x]


def pooling_to_more_than_one_position(b: Builder, x: Value) -> list[Value]:
    return [b.apply(parts.ADAPTIVE[x.dims](2), x)]


def positions_that_mix(b: Builder, x: Value) -> list[Value]:
    tokens = parts.to_tokens(b, keeping(b, x))
    return [keeping(b, parts.unflatten_alike(b, b.apply("roll", lambda x: x.roll(1, 1), tokens)))]


EXCLUDED: dict[str, tuple[Callable[[Builder, Value], list[Value]], ...]] = {
    "parallel_branches": (
        *(behind_an_activation, of_another_value, multiplied, padded_otherwise),
        *(both_are_outputs, statistics_of_the_batch),
    ),
    "normalised_projections": (
        *(normalisation_is_an_output, normalisation_meets_another_operator),
        normalisation_in_front_of_padding,
    ),
    "absorbed_biases": (sum_is_not_zero, normalisation_is_an_output),
    "factors": (factor_of_positions, factor_of_a_value),
    "added_constants": (constants_with_an_operator_between,),
    "common_operators": (pooling_to_more_than_one_position,),
    "channels_first": (positions_that_mix,),
}
CASES = [
    pytest.param(name, build, id=f"{name}-{build.__name__}")
    for name, builders in EXCLUDED.items()
    for build in builders
]


@pytest.mark.parametrize(("name", "build"), CASES)
def test_excluded_networks_are_left_unchanged(name: str, build) -> None:
    @seed(0)
    @settings(max_examples=6, database=None, deadline=None)
    @given(choices=st.randoms(use_true_random=True), is_open=st.booleans())
    def check(choices: random.Random, is_open: bool) -> None:
        dims = choices.choice((1, 2, 2, 3))
        sizes = [choices.choice((4, 5, 6)) for _ in range(dims)]
        b = Builder(choices, [2, choices.choice((3, 4, 8)), *sizes])
        network: RandomNetwork = b.network(build(b, b.values[0]))
        assert not hold_each_alone(source_of(network, is_open), [name]), network

    check()
