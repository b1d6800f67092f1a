"""The outputs of a session are compared with those of the trained network."""

import math

import numpy as np
import pytest

from slide_deploy.errors import InputError
from slide_deploy.precisions import BFLOAT16
from slide_deploy.verification.draws import Recipe
from slide_deploy.verification.reference_outputs.proof import prove
from tests.verification.reference_outputs.networks import (
    SHAPE,
    Calls,
    examples,
    network,
    reference,
    session,
)


def test_a_correct_file_passes() -> None:
    opened = session()
    stream = opened.new_stream()
    found = prove(opened, stream, reference())
    assert found is not None and found.passed and found.runtime == "numpy"
    assert [case.name for case in found.cases[::3]] == ["noise", "border", "example"]
    assert found.outputs == ("logits", "map", "one")
    assert isinstance(stream, Calls) and len(stream.ran) == 3


def off_at_the_edge(image: np.ndarray) -> list[np.ndarray]:
    logits, *others = network(image)
    return [logits + 0.01 * image[:, 0, 0, :1], *others]


def off_in_the_map(image: np.ndarray) -> list[np.ndarray]:
    logits, large, one = network(image)
    large[:, :, 0] *= 1.5
    return [logits, large, one]


@pytest.mark.parametrize(
    ("wrong", "failures"),
    [
        (off_at_the_edge, {f"{name} at logits" for name in ("noise", "border", "example")}),
        (off_in_the_map, {f"{name} at map" for name in ("noise", "border", "example")}),
        (lambda image: [network(image)[0] * math.nan, *network(image)[1:]], None),
        (lambda image: [network(image)[0][:, :-1], *network(image)[1:]], None),
        (lambda image: [each[..., None] for each in network(image)], None),
    ],
)
def test_wrong_files_fail(wrong, failures: set[str] | None) -> None:
    opened = session(wrong)
    found = prove(opened, opened.new_stream(), reference())
    assert found is not None and not found.passed
    if failures is not None:
        assert set(found.failures) == failures


@pytest.mark.parametrize("batch", [3, None])
def test_every_copy_in_a_larger_batch_must_be_correct(batch: int | None) -> None:
    shape = (batch, *SHAPE[1:])
    opened = session(shape=shape)
    stream = opened.new_stream()
    found = prove(opened, stream, reference())
    assert found is not None and found.passed
    assert isinstance(stream, Calls)
    assert {feeds["image"].shape[0] for feeds in stream.ran} == {batch or 1}

    def wrong_last(image: np.ndarray) -> list[np.ndarray]:
        logits, *others = network(image)
        logits[-1] += 1.0
        return [logits, *others]

    opened = session(wrong_last, shape)
    found = prove(opened, opened.new_stream(), reference())
    assert found is not None and not found.passed


@pytest.mark.parametrize("shape", [(1, 3, 7, 6), (1, 3, 5), (0, 3, 7, 5)])
def test_other_sizes_give_no_verdict(shape: tuple[int, ...]) -> None:
    opened = session(shape=shape)
    assert prove(opened, opened.new_stream(), reference()) is None


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("rows", [1, 2])
def test_examples_run_in_groups_and_are_compared_together(rows: int, batch: int) -> None:
    opened = session(shape=(batch, *SHAPE[1:]), dtype="uint8")
    stream = opened.new_stream()
    found = prove(opened, stream, reference(examples(rows)))
    if batch % rows:
        assert found is None
        return
    assert found is not None and found.passed and len(found.cases) == batch // rows
    assert isinstance(stream, Calls) and len(stream.ran) == 4 // rows

    def the_same_to_all(image: np.ndarray) -> list[np.ndarray]:
        logits, *others = network(image)
        return [np.full_like(logits, logits.mean()), *others]

    opened = session(the_same_to_all, (batch, *SHAPE[1:]), "uint8")
    found = prove(opened, opened.new_stream(), reference(examples(rows)))
    assert found is not None and found.worst.snr_db < 3


def test_less_exact_arithmetic_has_its_own_limit() -> None:
    def nearly(image: np.ndarray) -> list[np.ndarray]:
        return [each * 1.01 for each in network(image)]

    opened = session(nearly)
    for precision, passes in (("float32", False), ("default", False), ("bfloat16", True)):
        found = prove(opened, opened.new_stream(), reference(), precision)
        assert found is not None and found.passed == passes
    assert found is not None and found.limit == BFLOAT16.limit


def test_an_error_of_the_runtime_is_one_sentence() -> None:
    def refuse(image: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("the vendor's own words\nover two lines")

    opened = session(refuse)
    with pytest.raises(InputError, match=r"^numpy could not run the file \(the vendor's own words"):
        prove(opened, opened.new_stream(), reference())
    opened = session(dtype="uint8")  # it would round every number of the noise to nothing
    with pytest.raises(InputError, match="image of the file takes uint8, not float32"):
        prove(opened, opened.new_stream(), reference())


def test_inputs_of_bfloat16_are_fed_as_float32() -> None:
    opened = session(dtype="bfloat16")
    stream = opened.new_stream()
    found = prove(opened, stream, reference())
    assert found is not None and found.passed and isinstance(stream, Calls)
    assert {feeds["image"].dtype for feeds in stream.ran} == {np.dtype("float32")}


def test_channels_last_files() -> None:
    def turned(image: np.ndarray) -> list[np.ndarray]:
        return network(image.transpose(0, 3, 1, 2)[:, ::-1])

    plain = reference()
    cases = []
    for case in plain.cases[:2]:
        was = case.recipes["image"]
        recipe = Recipe(was.dtype, was.shape, was.draw, was.frame, (0, 2, 3, 1), 3)
        cases.append(type(case)(case.name, {"image": recipe}, case.outputs))
    opened = session(turned, (2, 7, 5, 3))
    found = prove(opened, opened.new_stream(), reference(*cases))
    assert found is not None and found.passed and len(found.cases) == 12
