"""Recipes give the same inputs in any language: checked with plain Python integers."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from slide_deploy.verification import draws
from tests.benchmarks.web.references import MASK, mix, word

_PAGE = Path(__file__).parents[3] / "docs" / "reference-outputs.md"


def bell(seed: int, place: int) -> float:
    pair = word(seed, 2 * place), word(seed, 2 * place + 1)
    return (sum((each & 0xFFFF) + (each >> 16) for each in pair) - 131_070) / 32_768


@settings(max_examples=20, deadline=None)
@given(st.integers(0, MASK), st.integers(1, 60))
def test_words_equal_those_of_python_integers(seed: int, count: int) -> None:
    assert draws.words(seed, count).tolist() == [word(seed, place) for place in range(count)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, MASK), st.sampled_from([1.0, 3.0, 2.0**-7]))
def test_normal_draws_are_exact_in_float32(seed: int, factor: float) -> None:
    drawn = draws.normal(seed, (3, 5), "float32", factor).tensor()
    assert drawn.ravel().astype(float).tolist() == [bell(seed, n) * factor for n in range(15)]


def test_normal_draws_look_like_noise() -> None:
    drawn, other = (draws.normal(seed, (10**5,), "float32").tensor() for seed in (3, 4))
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1.1547) < 0.01
    for pair in ((drawn, other), (drawn[1:], drawn[:-1])):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.02


def test_pixels_choices_and_places() -> None:
    pixels = draws.pixels(9, (4, 7), "uint8", 118, 3).tensor()
    assert pixels.ravel().tolist() == [118 + word(9, place) % 3 for place in range(28)]
    values = np.array([5, -2, 11], np.int64)
    chosen = draws.choice(2, (6,), values).tensor()
    assert chosen.tolist() == [values[word(2, place) % 3] for place in range(6)]
    assert draws.places(8, 5, 1000).tolist() == [word(8, place) % 1000 for place in range(5)]


def test_a_frame_keeps_only_the_border() -> None:
    whole = draws.normal(1, (1, 2, 9, 11), "float32")
    framed = draws.Recipe(whole.dtype, whole.shape, whole.draw, draws.Frame(2, 7.0)).tensor()
    inside = np.zeros((9, 11), bool)
    inside[2:7, 2:9] = True
    assert (framed[..., inside] == 7).all()
    assert np.array_equal(framed[..., ~inside], whole.tensor()[..., ~inside])


def test_axes_and_channel_order_of_the_file() -> None:
    plain = draws.pixels(3, (1, 3, 4, 5), "uint8", 0, 256)
    turned = draws.Recipe(plain.dtype, plain.shape, plain.draw, axes=(0, 2, 3, 1), reverse=3)
    assert turned.handed == (1, 4, 5, 3)
    assert np.array_equal(turned.tensor(), plain.tensor()[:, ::-1].transpose(0, 2, 3, 1))


def test_large_tensors_are_drawn_in_blocks() -> None:
    """Blocks give the same words as a single draw, at a peak memory near the array's own size."""
    shape, values = (2, 3, 1024, 512), np.array([1.5, 2.0, 4.0], np.float32)
    for recipe in (
        draws.normal(7, shape, "float32"),
        draws.pixels(7, shape, "uint8", 3, 200),
        draws.choice(7, shape, values),
        draws.constant(shape, "float16", 0.5),
    ):
        tracemalloc.start()
        drawn = recipe.tensor()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < drawn.nbytes + 2**24
        for place in (0, 2**18 - 1, 2**18, 2**20 + 5, drawn.size - 1):
            wanted = {
                "normal": bell(7, place),
                "pixels": 3 + word(7, place) % 200,
                "choice": values[word(7, place) % 3],
                "constant": 0.5,
            }[recipe.draw["kind"]]
            assert drawn.flat[place] == wanted


def test_scalars_stay_scalars() -> None:
    assert draws.normal(1, (), "float32").tensor().shape == ()


def test_stored_values_cannot_be_drawn() -> None:
    values = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(draws.stored(values).tensor(values), values)
    with pytest.raises(InputError, match="stored cannot be drawn"):
        draws.stored(values).tensor()


def test_the_example_of_the_page() -> None:
    text = _PAGE.read_text()
    vectors = re.findall(r"\| `([a-z]+)\((.*?)\)` \| (.*?) \|", text)
    assert {name for name, *_ in vectors} == {"mix", "word", "normal"}
    for name, arguments, answers in vectors:
        given_numbers = [int(each.partition("=")[2] or each, 0) for each in arguments.split(", ")]
        wanted = [float(each) for each in answers.split(", ")]
        if name == "mix":
            assert [mix(given_numbers[0])] == wanted
        elif name == "word":
            assert draws.words(given_numbers[0], len(wanted)).tolist() == wanted
        else:
            drawn = draws.normal(given_numbers[0], (len(wanted),), "float32").tensor()
            assert drawn.tolist() == wanted
