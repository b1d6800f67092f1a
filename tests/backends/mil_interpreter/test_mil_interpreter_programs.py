"""What a program promises its caller: names, shapes, rounding, kept values, and clear refusals."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slide_deploy.backends.mil_interpreter import MilProgram, UnsupportedOperator
from slide_deploy.backends.mil_interpreter.errors import faulty
from slide_deploy.backends.mil_interpreter.operators import OPERATORS
from slide_deploy.backends.mil_interpreter.plan import make_plan
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.saved.mlpackage import Range, open_package
from slide_deploy.saved.mlpackage.protobuf import parse_model

X = np.random.default_rng(8).standard_normal((1, 3, 6, 5)).astype(np.float32)
WEIGHT = np.random.default_rng(9).standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def package(convert):
    """x -> conv -> relu -> tile -> out, and a second branch that joins at the end."""

    def build(mb, variables):
        conv = mb.conv(x=variables["x"], weight=WEIGHT, pad_type="valid", name="conv")
        relu = mb.relu(x=conv, name="relu")
        tiled = mb.tile(x=relu, reps=[1, 1, 2, 1], name="tiled")
        yield mb.rsqrt(x=mb.square(x=tiled, name="squared"), epsilon=np.float32(1.0), name="out")

    return convert({"x": X}, build)


@pytest.fixture
def edited(package, tmp_path):
    """A copy of the package, its program changed by ``change(operations, block)``."""

    def edit(change):
        copy = tmp_path / "edited.mlpackage"
        shutil.copytree(package, copy)
        model = copy / "Data/com.apple.CoreML/model.mlmodel"
        spec = parse_model(model.read_bytes())
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        change({operation.outputs[0].name: operation for operation in block.operations}, block)
        model.write_bytes(spec.SerializeToString())
        return copy

    return edit


def test_inputs_and_outputs_are_described(package):
    program = MilProgram.load(package)
    assert program.inputs["x"].shape == X.shape
    assert program.inputs["x"].dtype == "float32"
    assert program.outputs["out"].shape == (1, 4, 8, 3)
    assert program.path == package


def test_intermediates_can_be_kept(package):
    results = MilProgram.load(package).run({"x": X}, keep=("conv", "x"))
    assert set(results) == {"out", "conv", "x"}
    expected = nn.functional.conv2d(torch.from_numpy(X), torch.from_numpy(WEIGHT))
    np.testing.assert_allclose(results["conv"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(results["x"], X)


def test_a_run_changes_neither_its_input_nor_the_next_run(package):
    program, image = MilProgram.load(package), X.copy()
    first = program.run({"x": image})["out"]
    np.testing.assert_array_equal(image, X)
    np.testing.assert_array_equal(program.run({"x": image})["out"], first)


def test_results_belong_to_the_caller(package):
    program = MilProgram.load(package)
    kept = program.run({"x": X}, keep=("conv_weight_0", "x"))
    for array in kept.values():
        array[:] = 0
    np.testing.assert_array_equal(
        program.run({"x": X}, ("conv_weight_0",))["conv_weight_0"], WEIGHT
    )


def test_values_are_freed_after_their_last_use(package):
    plan = make_plan(package, open_package(package).main, OPERATORS)
    released = {step.operation.name: step.released for step in plan.steps}
    assert released == {
        "conv": ("x",), "relu": ("conv",), "tiled": ("relu",), "squared": ("tiled",),
        "out": ("squared",),
    }  # fmt: skip


def test_float16_is_rounded_once_at_the_output_of_an_operator(convert):
    x = np.random.default_rng(10).standard_normal((1, 257)).astype(np.float16)

    def build(mb, variables):
        yield mb.reduce_sum(x=variables["x"], axes=[1], keep_dims=True, name="out")

    (out,) = MilProgram.load(convert({"x": x}, build)).run({"x": x}).values()
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, x.astype(np.float64).sum().astype(np.float16), rtol=2**-10)
    one_by_one = x[0, 0]
    for value in x[0, 1:]:
        one_by_one = one_by_one + value
    assert out.item() != one_by_one


def test_float16_overflows_as_its_storage_does(convert):
    x = np.array([[300.0, 2.0]], np.float16)

    def build(mb, variables):
        yield mb.sqrt(x=mb.square(x=variables["x"]), name="out")

    (out,) = MilProgram.load(convert({"x": x}, build)).run({"x": x}).values()
    np.testing.assert_array_equal(out, np.array([[np.inf, 2.0]], np.float16))


@pytest.mark.filterwarnings("ignore::UserWarning:coremltools")
def test_flexible_sizes_are_reported_and_checked(tmp_path):
    import coremltools as ct

    model = torch.jit.trace(nn.Linear(4, 2).eval(), torch.rand(2, 4))
    for name, shape in {
        "range": ct.Shape((ct.RangeDim(1, 3), 4)),
        "choice": ct.EnumeratedShapes([(1, 4), (5, 4)]),
    }.items():
        ct.convert(
            model,
            inputs=[ct.TensorType("x", shape=shape)],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        ).save(str(tmp_path / f"{name}.mlpackage"))

    ranged = MilProgram.load(tmp_path / "range.mlpackage")
    assert ranged.inputs["x"].shape == (Range(1, 3), 4)
    assert next(iter(ranged.run({"x": np.ones((3, 4))}).values())).shape == (3, 2)
    with pytest.raises(InputError, match=r"does not take shape \(4, 4\).*1 to 3"):
        ranged.run({"x": np.ones((4, 4))})

    choice = MilProgram.load(tmp_path / "choice.mlpackage")
    assert next(iter(choice.run({"x": np.ones((5, 4))}).values())).shape == (5, 2)
    with pytest.raises(InputError, match=r"one of \(1, 4\), \(5, 4\)"):
        choice.run({"x": np.ones((2, 4))})


@pytest.mark.parametrize(
    ("inputs", "keep", "message"),
    [
        ({}, (), "needs the input 'x'"),
        ({"y": X}, (), "has no 'y'"),
        ({"x": X}, ("nothing",), "has no 'nothing'"),
        ({"x": X}, ("conv_pad_type_0",), "cannot return 'conv_pad_type_0'"),
        ({"x": X[:, :2]}, (), r"does not take shape \(1, 2, 6, 5\)"),
        ({"x": X[0]}, (), r"does not take shape \(3, 6, 5\)"),
        ({"x": X.astype(str)}, (), "takes float32 as 'x'"),
        ({"x": X.astype(complex)}, (), "takes float32 as 'x'"),
    ],
)
def test_a_wrong_call_is_refused(inputs, keep, message, package):
    with pytest.raises(InputError, match=message):
        MilProgram.load(package).run(inputs, keep)


def rename(operations, block):
    operations["relu"].type = "fancy_relu"


def add_option(operations, block):
    operations["relu"].inputs["alpha"].CopyFrom(operations["relu"].inputs["x"])


def other_padding(operations, block):
    value = operations["conv_pad_type_0"].attributes["val"]
    value.immediateValue.tensor.strings.values[0] = "mirrored"


def nested_block(operations, block):
    operations["relu"].blocks.add()


@pytest.mark.parametrize(
    ("change", "operator", "output"),
    [
        (rename, "fancy_relu", "relu"),
        (add_option, "relu with parameter alpha", "relu"),
        (other_padding, "conv with pad_type mirrored", "conv"),
        (nested_block, "relu", "relu"),
    ],
)
def test_an_unknown_operator_or_option_is_named(change, operator, output, edited):
    path = edited(change)
    with pytest.raises(UnsupportedOperator) as caught:
        MilProgram.load(path).run({"x": X})
    assert f"uses operator {operator} (output {output!r})" in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.output == output


def undefined(operations, block):
    operations["relu"].inputs["x"].arguments[0].name = "nowhere"


def cycle(operations, block):
    operations["relu"].inputs["x"].arguments[0].name = "out"


def defined_twice(operations, block):
    operations["relu"].outputs[0].name = "conv"


def unknown_output(operations, block):
    block.outputs[0] = "nowhere"


def no_output(operations, block):
    del operations["relu"].outputs[:]


def lacking(operations, block):
    del operations["tiled"].inputs["reps"]


def empty_argument(operations, block):
    del operations["conv"].inputs["weight"].arguments[:]


def two_arguments(operations, block):
    operations["relu"].inputs["x"].arguments.add().name = "conv"


def swapped_weight(operations, block):
    for dimension, size in zip(
        operations["conv_weight_0"].outputs[0].type.tensorType.dimensions, (3, 4, 3, 3), strict=True
    ):
        dimension.constant.size = size


def reshaped_weight(operations, block):
    swapped_weight(operations, block)
    value_type = operations["conv_weight_0"].attributes["val"].type
    value_type.CopyFrom(operations["conv_weight_0"].outputs[0].type)


def other_shape(operations, block):
    operations["tiled"].outputs[0].type.tensorType.dimensions[2].constant.size = 9


def other_type(operations, block):
    operations["relu"].outputs[0].type.tensorType.dataType = 23


def zero_stride(operations, block):
    operations["conv_strides_0"].attributes["val"].immediateValue.tensor.ints.values[0] = 0


def absurd_stride(operations, block):
    operations["conv_strides_0"].attributes["val"].immediateValue.tensor.ints.values[0] = 1 << 16


def absurd_copies(operations, block):
    operations["tiled_reps_0"].attributes["val"].immediateValue.tensor.ints.values[2] = 1 << 30


def word_for_a_tensor(operations, block):
    operations["relu"].inputs["x"].arguments[0].name = "conv_pad_type_0"


def number_for_a_word(operations, block):
    operations["conv"].inputs["pad_type"].arguments[0].name = "conv_groups_0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (undefined, "uses 'nowhere' before it is defined"),
        (cycle, "uses 'out' before it is defined"),
        (defined_twice, "defines a value a second time"),
        (unknown_output, "no operation computes its output 'nowhere'"),
        (no_output, "has no output"),
        (lacking, "lacks parameter reps"),
        (empty_argument, "lacks parameter weight"),
        (two_arguments, "takes one x, not 2"),
        (swapped_weight, "not as declared"),
        (reshaped_weight, r"operator conv \(output 'conv'\) fails"),
        (other_shape, r"outputs shape \(1, 4, 8, 3\) where \(1, 4, 9, 3\) is declared"),
        (other_type, "where int32 is declared"),
        (zero_stride, r"has strides \[0, 1\]"),
        (absurd_stride, r"has strides \[65536, 1\]"),
        (absurd_copies, "absurd shape"),
        (word_for_a_tensor, "needs a tensor as x"),
        (number_for_a_word, "needs a string as pad_type"),
    ],
)
def test_a_program_that_contradicts_itself_is_refused(change, message, edited):
    path = edited(change)
    with pytest.raises(InputError, match=message) as caught:
        MilProgram.load(path).run({"x": X})
    assert str(path) in str(caught.value)


def test_a_program_that_fills_the_memory_is_refused(edited, monkeypatch):
    for module in ("plan", "engine"):
        monkeypatch.setattr(
            f"slide_deploy.backends.mil_interpreter.{module}.MAX_ALIVE_ELEMENTS", WEIGHT.size + 100
        )

    def weight_twice(operations, block):
        again = block.operations.add()
        again.CopyFrom(operations["conv_weight_0"])
        again.outputs[0].name = "again"

    fits = edited(lambda operations, block: None)
    program = MilProgram.load(fits)
    with pytest.raises(InputError, match="its values take more than"):
        program.run({"x": X})
    shutil.rmtree(fits)
    with pytest.raises(InputError, match="its values take more than"):
        MilProgram.load(edited(weight_twice))


def test_parameters_that_are_left_out_have_their_defaults(edited):
    def strip(operations, block):
        for name in ("groups", "dilations", "strides", "pad_type"):
            del operations["conv"].inputs[name]
        del operations["out"].inputs["epsilon"]

    def value(weights):
        conv = nn.functional.conv2d(torch.from_numpy(X), torch.from_numpy(weights))
        return (conv.relu().repeat(1, 1, 2, 1).square() + 1e-12).rsqrt().numpy()

    results = MilProgram.load(edited(strip)).run({"x": X})
    np.testing.assert_allclose(results["out"], value(WEIGHT), rtol=1e-4)


def test_a_cast_to_another_type_than_declared_is_refused(convert):
    def build(mb, variables):
        yield mb.cast(x=variables["x"], dtype="fp16", name="out")

    path = convert({"x": X}, build)
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(model.read_bytes().replace(b"fp16", b"fp32"))
    with pytest.raises(InputError, match="casts to float32 where float16 is declared"):
        MilProgram.load(path).run({"x": X})


def test_negative_indices_are_refused_since_ios17(convert):
    indices = np.array([1, 0], np.int32)

    def build(mb, variables):
        yield mb.gather(x=variables["x"], indices=variables["indices"], axis=1, name="out")

    program = MilProgram.load(convert({"x": X, "indices": indices}, build))
    np.testing.assert_array_equal(program.run({"x": X, "indices": indices})["out"], X[:, [1, 0]])
    with pytest.raises(InputError, match="has an index outside 0 to 2"):
        program.run({"x": X, "indices": np.array([-1, 0])})


def test_importing_the_interpreter_imports_neither_torch_nor_coremltools():
    code = (
        "import sys, slide_deploy.backends.mil_interpreter;"
        "sys.exit(bool({'torch', 'coremltools'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_running_a_program_does_not_import_coremltools(package):
    code = (
        "import sys; from slide_deploy.backends.mil_interpreter import MilProgram;"
        f"MilProgram.load({str(package)!r}); sys.exit('coremltools' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_missing_torch_is_named_with_its_extra(package, monkeypatch):
    engine = "slide_deploy.backends.mil_interpreter.engine"
    monkeypatch.delitem(sys.modules, engine, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'slide-deploy\[torch\]'"):
        MilProgram.load(package)


def test_an_operator_of_any_name_is_reported_on_one_line(tmp_path: Path) -> None:
    for error in (
        UnsupportedOperator(tmp_path, "\n\x12conv", "conv"),
        faulty(tmp_path, "\n\x12conv", "conv", "has no kernel"),
    ):
        assert str(error).isprintable() and "\\n\\x12conv" in str(error)
