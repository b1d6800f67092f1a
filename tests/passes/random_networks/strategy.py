"""Draw random networks with hypothesis."""

from random import Random

from hypothesis import strategies as st

from tests.passes.random_networks import attention, blocks, parts
from tests.passes.random_networks.blocks import Part
from tests.passes.random_networks.builder import Builder, RandomNetwork, Value

# What may follow a value of each layout: a single operator or a typical block. An entry that is
# listed twice is drawn twice as often.
OPERATORS: dict[str, tuple[Part, ...]] = {
    "first": (
        *(parts.convolution, parts.batch_norm, parts.activation, parts.with_constant),
        *(parts.with_value, parts.mean_pool, parts.max_pool, parts.adaptive_pool, parts.pad),
        *(parts.slice_channels, parts.slice_positions, parts.roll, parts.roll, parts.concatenate),
        *(parts.with_number, parts.squeeze_and_excite, parts.swap_halves, parts.group_norm),
        *(
            parts.few_positions,
            parts.resize,
            parts.upsample,
            parts.shuffle,
            parts.flip,
            parts.gate,
            parts.softmax,
        ),
        *(parts.transposed_convolution, parts.nothing),
    ),
    "last": (
        *(parts.layer_norm, parts.linear, parts.activation, parts.with_constant),
        *(parts.with_value, parts.pad, parts.slice_channels, parts.slice_positions),
        *(parts.roll, parts.roll, parts.with_constant),
        *(parts.concatenate, parts.softmax, parts.matrix_product, parts.with_number),
        *(parts.swap_halves, parts.gate, parts.rms_norm, parts.flip, parts.nothing),
        parts.few_positions,
    ),
    "tokens": (
        *(parts.layer_norm, parts.linear, parts.activation),
        *(parts.with_constant,) * 2,
        *(parts.with_value, parts.slice_channels, parts.concatenate, parts.softmax),
        *(parts.matrix_product, parts.with_number, parts.swap_halves, parts.gate),
        *(parts.rms_norm, parts.there_and_back, parts.mean_token, parts.flip, parts.nothing),
        *(parts.few_positions,) * 2,
    ),
}
BLOCKS: dict[str, tuple[Part, ...]] = {
    "first": (
        *(blocks.parallel_branches,) * 4,
        *(blocks.tokens_between_convolutions,) * 4,
        *(blocks.patches, blocks.patch_merging_of_maps) * 2,
        *(blocks.convolution_and_norm, blocks.again, attention.slide_attention),
        *(blocks.pooled,) * 2,
        parts.roll,
        *(parts.to_last,) * 3,
        *(parts.to_tokens,) * 3,
    ),
    "last": (
        *(blocks.normalised_projections,) * 2,
        *(blocks.multilayer, blocks.again, blocks.factors, blocks.factors),
        *(blocks.read_in_part,) * 2,
        *(blocks.patch_merging,) * 5,
        *(attention.windows,) * 3,
        *(parts.to_first,) * 3,
        parts.to_tokens,
    ),
    "tokens": (
        *(blocks.normalised_projections,) * 2,
        *(blocks.multilayer, blocks.again, blocks.factors, blocks.factors),
        *(blocks.read_in_part,) * 2,
        *(attention.attention,) * 4,
        attention.slide_attention,
        *(parts.to_first,) * 3,
        parts.tokens_to_last,
    ),
}


# Networks that begin with an attention between so many tokens, from where on heads have products of
# their own.
LONG, LONG_TOKENS = 0.08, 128


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    """A network of a few parts.

    Hypothesis decides how many, and makes them fewer where something fails; what they are comes
    from a seed, so that all kinds are as frequent as the lists above say.
    """
    most = draw(st.integers(2, 3))
    random = draw(st.randoms(use_true_random=True))
    return random_network(random, most)


def random_network(random: Random, most: int) -> RandomNetwork:
    """A network of a given number of parts; most read the previous value, some an earlier one."""
    dims = random.choice((2, 2, 2, 2, 2, 2, 1, 3))
    sizes = {1: (8, 6, 7), 2: (4, 6, 4, 5), 3: (3, 2)}[dims]
    channels = random.choice((4, 8, 3, 2))
    example = [2, channels, *(random.choice(sizes) for _ in range(dims))]
    is_long = random.random() < LONG
    b = Builder(random, [2, 4, LONG_TOKENS] if is_long else example)
    x = b.values[0]
    if is_long:
        x = attention.attention(b, parts.to_tokens(b, x))
    elif b.chance(0.4):  # as behind a part that is none of ours
        x = b.choose((parts.to_tokens, parts.to_last))(b, x)
    for _ in range(most):
        if len(b.values) > 1 and b.chance(0.15):
            x = b.choose(b.values[1:])
        x = b.choose((BLOCKS if b.chance(0.7) else OPERATORS)[x.layout])(b, x)
    return b.network(_outputs(b, x))


def _outputs(b: Builder, last: Value) -> list[Value]:
    """The last value, and perhaps intermediate values that others may read."""
    outputs = [last] if last.place else [b.apply("* 2", lambda x: x * 2, last)]
    inside = [each for each in b.values[1:] if each is not outputs[0]]
    while inside and b.chance(0.3):
        extra = b.choose(inside)
        inside.remove(extra)
        outputs.insert(b.choose((len(outputs), 0)), extra)
    return outputs
