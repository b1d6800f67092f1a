"""Two files are compared with each other, on inputs made from the interface that both declare."""

from pathlib import Path

import numpy as np
import pytest

from slide_deploy.backends import open_file
from slide_deploy.deployable.inputs import Input
from slide_deploy.errors import InputError
from slide_deploy.precisions import precision_named
from slide_deploy.verification.two_files.verify import (
    locate_difference,
    open_two_files,
    verify_against_file,
    verify_two_files,
)
from tests.verification.two_files import network, node, random_weights, save


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return network(tmp_path / "reference.onnx")


def changed(name: str, place: tuple[int, ...], by: float) -> dict[str, np.ndarray]:
    weights = random_weights()
    weights[name][place] += by
    return weights


def wrong_outputs(path: Path, reference: Path) -> set[str]:
    verdict = verify_against_file(path, reference)
    return {case.output for case in verdict.cases if not case.agreement.within(verdict.limit)}


def located(path: Path, reference: Path, precision: str = "float32") -> tuple[str | None, ...]:
    files = open_two_files(path, reference, precision)
    found = locate_difference(files, verify_two_files(files, precision), precision)
    return found.last_right, found.first_wrong


def test_a_file_agrees_with_a_copy_in_every_case(tmp_path: Path, reference: Path) -> None:
    verdict = verify_against_file(network(tmp_path / "copy.onnx"), reference)
    assert verdict.passed
    cases = {(case.name, case.batch) for case in verdict.cases}
    assert cases == {
        *((name, 1) for name in ("noise", "border", "faint", "zeros")),
        ("batch of 3", 3),
    }
    assert verdict.outputs == ("map", "logits")
    assert verdict.worst.max_relative < 1e-5
    assert located(tmp_path / "copy.onnx", reference) == ("logits", None)


def test_the_reference_runs_unoptimised(reference: Path) -> None:
    files = open_two_files(reference, reference, target="openvino:cpu")
    assert files.file.session.runtime == "openvino"
    facts = files.reference.session.facts
    assert facts["graph_optimization_level"] == "ORT_DISABLE_ALL"
    assert files.reference.session.runtime == "onnxruntime"


def test_another_weight_fails_wherever_it_is_read(tmp_path: Path, reference: Path) -> None:
    path = network(tmp_path / "other.onnx", changed("w", (3, 1, 0, 2), 0.01))
    verdict = verify_against_file(path, reference)
    failed = {(case.name, case.output) for case in verdict.cases} - {
        (case.name, case.output) for case in verdict.cases if case.agreement.within(verdict.limit)
    }
    assert failed >= {(name, "map") for name in ("noise", "border", "batch of 3")}
    assert "zeros" not in {name for name, _ in failed}  # biases alone decide that output
    assert located(path, reference) == ("padded", "convolved")


def test_one_wrong_output_is_named(tmp_path: Path, reference: Path) -> None:
    path = network(tmp_path / "other.onnx", changed("head", (2, 4), 0.01))
    verdict = verify_against_file(path, reference)
    assert wrong_outputs(path, reference) == {"logits"}
    assert "noise at logits" in verdict.failures
    assert located(path, reference) == ("mean", "logits")


def test_one_wrong_position_is_found(tmp_path: Path, reference: Path) -> None:
    path = network(tmp_path / "other.onnx", changed("none", (0, 0, 11, 7), 0.01))
    verdict = verify_against_file(path, reference)
    assert "noise at map" in verdict.failures
    assert located(path, reference) == ("positive", "map")


def test_another_padding_of_the_border_is_found(tmp_path: Path, reference: Path) -> None:
    path = network(tmp_path / "other.onnx", padding="edge")
    verdict = verify_against_file(path, reference)
    assert {"noise at map", "border at map", "batch of 3 at map"} <= set(verdict.failures)
    assert located(path, reference) == (None, "padded")


def test_nan_fails_on_either_side(tmp_path: Path, reference: Path) -> None:
    path = network(tmp_path / "nan.onnx", changed("b", (0,), np.nan))
    for pair in ((path, reference), (reference, path)):
        verdict = verify_against_file(*pair)
        assert not verdict.passed
        assert len(verdict.failures) == len(verdict.cases)


def test_other_names_are_paired_by_order(tmp_path: Path, reference: Path) -> None:
    named = {"image": "pixel_values", "outputs": ("features", "scores")}
    path = network(tmp_path / "other.onnx", **named)
    verdict = verify_against_file(path, reference)
    assert verdict.passed
    assert verdict.outputs == ("features", "scores")
    wrong = network(tmp_path / "wrong.onnx", changed("head", (0, 0), 0.1), **named)
    assert wrong_outputs(wrong, reference) == {"scores"}


def sums(path: Path, inputs: str, outputs: str, product: str = "a b") -> Path:
    """Two inputs and two outputs of one shape: the sum of the inputs, and a - 2 b."""
    first, second = outputs.split()
    nodes = [
        node("Add", product, "sum"),
        node("Mul", "b two", "twice"),
        node("Sub", "a twice", "rest"),
        node("Identity", "sum", "total"),
        node("Identity", "rest", "difference"),
    ]
    ports = dict.fromkeys(inputs.split(), ("float32", (2, 5)))
    two = np.array(2, np.float32)
    return save(path, nodes, ports, dict.fromkeys((first, second), "float32"), two=two)


def test_names_count_before_order(tmp_path: Path) -> None:
    ours = sums(tmp_path / "a.onnx", "a b", "total difference")
    swapped = sums(tmp_path / "b.onnx", "b a", "difference total")
    assert verify_against_file(ours, swapped).passed


def test_swapped_outputs_of_other_names_disagree(tmp_path: Path) -> None:
    ours = sums(tmp_path / "a.onnx", "a b", "total difference")
    nodes = [
        node("Mul", "y two", "twice"),
        node("Sub", "x twice", "first"),
        node("Add", "x y", "second"),
    ]
    ports = dict.fromkeys(("x", "y"), ("float32", (2, 5)))
    both = dict.fromkeys(("first", "second"), "float32")
    theirs = save(tmp_path / "b.onnx", nodes, ports, both, two=np.array(2, np.float32))
    assert {case.output for case in verify_against_file(ours, theirs).cases} == {
        "total",
        "difference",
    }
    assert "noise at total" in verify_against_file(ours, theirs).failures


def test_interfaces_that_do_not_fit_are_refused(tmp_path: Path, reference: Path) -> None:
    two = sums(tmp_path / "two.onnx", "a b", "total difference")
    with pytest.raises(InputError) as refusal:
        verify_against_file(two, reference)
    said = str(refusal.value)
    assert f"{two} takes a (float32 2x5), b (float32 2x5) and gives total, difference" in said
    assert f"{reference} takes image (float32 ?x3x12x12) and gives map, logits" in said
    weights = random_weights() | {"none": np.zeros((1, 1, 1, 1), np.float32)}
    larger = network(tmp_path / "larger.onnx", weights, shape=(1, 3, 12, 13))
    with pytest.raises(InputError, match="the same inputs and outputs"):
        verify_against_file(larger, reference)


def test_outputs_paired_by_order_need_equal_shapes(tmp_path: Path, reference: Path) -> None:
    swapped = save(
        tmp_path / "swapped.onnx",
        [
            node("Identity", "image", "first"),
            node("ReduceMean", "image axes", "second", keepdims=0),
        ],
        {"image": ("float32", ("batch", 3, 12, 12))},
        {"second": "float32", "first": "float32"},
        axes=np.array([2, 3]),
    )
    with pytest.raises(InputError, match="the same inputs and outputs"):
        verify_against_file(swapped, reference)


def test_another_layout_is_refused_in_a_sentence(tmp_path: Path, reference: Path) -> None:
    last = save(
        tmp_path / "last.onnx",
        [
            node("Transpose", "image", "map", perm=[0, 3, 1, 2]),
            node("ReduceMean", "map axes", "logits", keepdims=0),
        ],
        {"image": ("float32", ("batch", 12, 12, 3))},
        {"map": "float32", "logits": "float32"},
        axes=np.array([2, 3]),
    )
    for pair in ((last, reference), (reference, last)):
        with pytest.raises(InputError, match="another layout of the channels"):
            verify_against_file(*pair)


def test_a_fixed_batch_is_kept(tmp_path: Path, reference: Path) -> None:
    two = network(tmp_path / "two.onnx", shape=(2, 3, 12, 12))
    for pair in ((two, reference), (reference, two)):
        verdict = verify_against_file(*pair)
        assert verdict.passed
        assert {case.batch for case in verdict.cases} == {2}


def test_a_file_that_is_wrong_in_larger_batches_alone_fails(tmp_path: Path) -> None:
    """The mean over the batch is that of the image where the batch is 1."""
    ports = {"image": ("float32", ("batch", 4))}
    right = save(tmp_path / "a.onnx", [node("Relu", "image", "y")], ports, {"y": "float32"})
    nodes = [
        node("Relu", "image", "r"),
        node("ReduceMean", "r first", "m"),
        node("Add", "r m", "s"),
        node("Mul", "s half", "y"),
    ]
    constants = {"first": np.array([0]), "half": np.array(0.5, np.float32)}
    wrong = save(tmp_path / "b.onnx", nodes, ports, {"y": "float32"}, **constants)
    assert verify_against_file(wrong, right).failures == ("batch of 3",)


def test_open_sizes_besides_the_batch_are_given(tmp_path: Path) -> None:
    shape = ("batch", 3, "height", "width")
    weights = random_weights() | {"none": np.zeros((1, 1, 1, 1), np.float32)}
    first = network(tmp_path / "a.onnx", weights, shape=shape)
    second = network(tmp_path / "b.onnx", weights, shape=shape)
    with pytest.raises(InputError) as refusal:
        verify_against_file(first, second)
    assert str(refusal.value) == (
        f"{first} leaves size 2 of image open (?x3x?x?): give --input image=1x3x224x224."
    )
    for name in ("", "image"):
        given = Input(name, np.zeros((1, 3, 9, 7)), {0: "batch"})
        verdict = verify_against_file(first, second, given=[given])
        assert verdict.passed
        assert {case.batch for case in verdict.cases} == {1, 3}
    with pytest.raises(InputError, match=r"takes image as \?x3x\?x\?, not 1x4x9x7"):
        verify_against_file(first, second, given=[Input("image", np.zeros((1, 4, 9, 7)))])
    with pytest.raises(InputError, match="have no input picture: name one of image"):
        verify_against_file(first, second, given=[Input("picture", np.zeros((1, 3, 9, 7)))])


def embedding(path: Path, table: np.ndarray, dtype: str = "int64") -> Path:
    """A file that looks up rows of a table by (batch, 40) indices."""
    nodes = [
        node("Reshape", "ids flat", "moved"),
        node("Gather", "table moved", "rows", axis=0),
    ]
    ports = {"ids": (dtype, ("batch", 40))}
    return save(path, nodes, ports, {"rows": "float32"}, flat=np.array([-1]), table=table)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_indices_reach_the_whole_table_and_not_beyond(tmp_path: Path, dtype: str) -> None:
    table = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    reference = embedding(tmp_path / "a.onnx", table)
    assert verify_against_file(embedding(tmp_path / "b.onnx", table, dtype), reference).passed
    for row in range(7):
        other = table.copy()
        other[row] += 0.01
        verdict = verify_against_file(embedding(tmp_path / "b.onnx", other, dtype), reference)
        assert "noise" in verdict.failures


def test_integers_that_are_computed_with_are_larger_than_one(tmp_path: Path) -> None:
    """Both files agree on 0 and 1."""
    ports = {"x": ("int64", ("batch", 6))}
    cast = node("Cast", "x", "f", to=1)
    square = save(tmp_path / "a.onnx", [cast, node("Mul", "f f", "y")], ports, {"y": "float32"})
    linear = save(tmp_path / "b.onnx", [cast, node("Abs", "f", "y")], ports, {"y": "float32"})
    assert not verify_against_file(square, linear).passed


def test_booleans_are_drawn(tmp_path: Path) -> None:
    ports = {"x": ("bool", ("batch", 16))}
    plain, turned = ([node("Cast", f, "y", to=1)] for f in ("x", "n"))
    first = save(tmp_path / "a.onnx", plain, ports, {"y": "float32"})
    second = save(tmp_path / "b.onnx", [node("Not", "x", "n"), *turned], ports, {"y": "float32"})
    assert verify_against_file(first, first).passed
    assert not verify_against_file(second, first).passed


def test_other_types_are_refused(tmp_path: Path) -> None:
    files = [
        save(
            tmp_path / f"{dtype}.onnx",
            [node("Cast", "x", "y", to=1)],
            {"x": (dtype, ("batch", 4))},
            {"y": "float32"},
        )
        for dtype in ("int64", "float32", "bool")
    ]
    for first in files:
        for second in files:
            if first != second:
                with pytest.raises(InputError, match="the same inputs and outputs"):
                    verify_against_file(first, second)


def halves(path: Path, dtype: str, scale: float = 1.0) -> Path:
    """A matmul in float16 or float32, whose weights float16 represents."""
    weight = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float16).astype(dtype)
    nodes = [node("MatMul", "x w", "product"), node("Mul", "product scale", "y")]
    return save(
        path,
        nodes,
        {"x": (dtype, ("batch", 32))},
        {"y": dtype},
        w=weight,
        scale=np.array(scale, dtype),
    )


def test_float16_is_compared_within_its_own_limit(tmp_path: Path) -> None:
    exact = halves(tmp_path / "exact.onnx", "float32")
    half = halves(tmp_path / "half.onnx", "float16")
    verdict = verify_against_file(half, exact, "float16")
    assert verdict.passed
    assert verdict.limit == precision_named("float16").limit
    assert 1e-5 < verdict.worst.max_relative < 1e-2  # it is rounded
    assert not verify_against_file(half, exact, "float32").passed
    wrong = halves(tmp_path / "wrong.onnx", "float16", 1.1)
    assert not verify_against_file(wrong, exact, "float16").passed
    assert located(wrong, exact, "float16") == ("product", "y")


def test_an_overflow_of_float16_is_found(tmp_path: Path) -> None:
    exact = halves(tmp_path / "exact.onnx", "float32", 60000.0)
    half = halves(tmp_path / "half.onnx", "float16", 60000.0)
    assert not verify_against_file(half, exact, "float16").passed


def test_int8_needs_examples(tmp_path: Path, reference: Path) -> None:
    with pytest.raises(InputError, match="is verified in int8 on examples"):
        verify_against_file(reference, reference, "int8")


def test_rounding_noise_of_the_reference_is_no_output(tmp_path: Path) -> None:
    """Of zeros, (x + p) w - p w is zero, and both files compute rounding noise instead."""
    draw = np.random.default_rng(2)
    shift, weight = draw.standard_normal((1, 64)), draw.standard_normal((64, 4))
    constants = {
        name: each.astype(np.float32)
        for name, each in {
            "p": shift,
            "w": weight,
            "top": weight[:32],
            "bottom": weight[32:],
            "pw": shift.astype(np.float32).astype(float) @ weight.astype(np.float32),
        }.items()
    }
    ports = {"x": ("float32", (1, 64))}
    shifted, back = node("Add", "x p", "u"), node("Sub", "v pw", "y")
    halves = [
        node("Split", "u", "a b", axis=1, num_outputs=2),
        node("MatMul", "a top", "at"),
        node("MatMul", "b bottom", "bb"),
        node("Add", "at bb", "v"),
    ]
    whole = [node("MatMul", "u w", "v")]
    first, second = (
        save(path, [shifted, *product, back], ports, {"y": "float32"}, **constants)
        for path, product in ((tmp_path / "a.onnx", halves), (tmp_path / "b.onnx", whole))
    )
    zeros = {"x": np.zeros((1, 64), np.float32)}
    noise = [open_file(path)(zeros)["y"] for path in (first, second)]
    assert np.abs(noise[0] - noise[1]).max() > 0.1 * np.abs(noise[1]).max() > 0
    assert verify_against_file(first, second).passed
    assert verify_against_file(second, first).passed


def test_merged_values_count_as_right(tmp_path: Path) -> None:
    """The reference has the sum of two branches; the file, each of them."""
    draw = np.random.default_rng(3)
    first, second = (draw.standard_normal((8, 8)).astype(np.float32) for _ in range(2))
    ports = {"x": ("float32", ("batch", 8))}
    merged = save(
        tmp_path / "merged.onnx",
        [node("MatMul", "x w", "s"), node("Relu", "s", "y")],
        ports,
        {"y": "float32"},
        w=first + second,
    )
    nodes = [
        node("MatMul", "x u", "one"),
        node("MatMul", "x v", "two"),
        node("Add", "one two", "s"),
        node("Relu", "s", "y"),
    ]
    apart = save(tmp_path / "apart.onnx", nodes, ports, {"y": "float32"}, u=first, v=second)
    assert located(apart, merged) == ("y", None)
    second[0, 0] += 1
    wrong = save(tmp_path / "wrong.onnx", nodes, ports, {"y": "float32"}, u=first, v=second)
    assert located(wrong, apart) == ("one", "two")


def test_random_files_that_differ_in_one_weight_fail(tmp_path: Path) -> None:
    reference = network(tmp_path / "reference.onnx")
    draw = np.random.default_rng(4)
    for trial in range(10):
        weights = random_weights()
        name = ("w", "b", "head", "none")[trial % 4]
        place = tuple(int(draw.integers(size)) for size in weights[name].shape)
        weights[name][place] += draw.choice([-0.05, 0.05])
        path = network(tmp_path / "other.onnx", weights)
        assert not verify_against_file(path, reference).passed, (name, place)
