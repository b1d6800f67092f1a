"""Builds many small cases into one saved package, since converting costs the time."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slide_deploy.backends.mil_interpreter import MilProgram
from slide_deploy.saved.mlpackage import open_package

# One unit in the last place, and what different orders of summation may add to it.
TOLERANCES = {
    "float32": {"rtol": 2e-6, "atol": 2e-6},
    "float16": {"rtol": 2**-10, "atol": 1e-6},
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Family:
    """Results of the interpreter and of torch for a dictionary of cases."""

    dtype: str
    actual: Mapping[str, list[np.ndarray]]
    expected: Mapping[str, list[np.ndarray]]

    def check(self, name: str) -> None:
        """Compare one case; outputs must have torch's shapes, and the types of the program."""
        actual, expected = self.actual[name], self.expected[name]
        assert len(actual) == len(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.shape == theirs.shape
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, **TOLERANCES[self.dtype])


@pytest.fixture(scope="session")
def convert(tmp_path_factory):
    """Save a program made of builder calls: ``convert(inputs, build, opset)`` gives its path."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder, Function, Program, types

    kinds = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}

    def save(
        inputs: Mapping[str, np.ndarray], build: Callable[..., Any], opset: str = "iOS17"
    ) -> Path:
        target = getattr(ct.target, opset)
        program = Program()
        placeholders = {
            name: Builder.placeholder(shape=array.shape, dtype=kinds[array.dtype.name])
            for name, array in inputs.items()
        }
        with Function(placeholders, opset_version=target) as function:
            function.set_outputs(list(build(Builder, function.inputs)))
            program.add_function("main", function)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ct.convert(
                program,
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT32,
                minimum_deployment_target=target,
                skip_model_load=True,
                pass_pipeline=ct.PassPipeline.EMPTY,
            )
        path = tmp_path_factory.mktemp("package") / "model.mlpackage"
        model.save(str(path))
        return path

    return save


@pytest.fixture(scope="session")
def run_family(convert):
    """Build all cases into one package, run it, and run torch beside it.

    A case is a dictionary: ``inputs`` and ``weights`` are arrays, numbers, or shapes to be filled
    at random; ``mil(mb, values)`` and ``torch(values)`` compute one result or several.
    """

    def run(cases: Mapping[str, Mapping[str, Any]], dtype: str, opset: str = "iOS17") -> Family:
        inputs = {case: _arrays(cases[case].get("inputs", {}), dtype, case) for case in cases}
        weights = {case: _arrays(cases[case].get("weights", {}), dtype, case) for case in cases}
        flat = {
            f"{case}__{name}": array
            for case, arrays in inputs.items()
            for name, array in arrays.items()
        }
        counts: dict[str, int] = {}
        built: Counter[str] = Counter()

        def build(mb, variables):
            for case in cases:
                values = {name: variables[f"{case}__{name}"] for name in inputs[case]}
                results = cases[case]["mil"](mb, values | weights[case])
                results = list(results) if isinstance(results, tuple | list) else [results]
                counts[case] = len(results)
                built.update(op.op_type for op in {result.op for result in results})
                for index, result in enumerate(results):
                    yield mb.identity(x=_as_output(mb, result), name=f"{case}__out{index}")

        path = convert(flat, build, opset)
        _assert_saved(path, built)
        outputs = MilProgram.load(path).run(flat)
        actual = {
            case: [outputs[f"{case}__out{index}"] for index in range(counts[case])]
            for case in cases
        }
        expected = {
            case: _expected(cases[case]["torch"], inputs[case] | weights[case], dtype)
            for case in cases
        }
        return Family(dtype, actual, expected)

    return run


def _arrays(given: Mapping[str, Any], dtype: str, case: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(sum(case.encode()))
    arrays = {}
    for name, value in given.items():
        array = random.standard_normal(value) if isinstance(value, tuple) else np.asarray(value)
        arrays[name] = array.astype(dtype) if array.dtype.kind == "f" else array
    return arrays


def _as_output(mb: Any, result: Any) -> Any:
    """Truth values and small integers cannot leave a Core ML program as they are."""
    from coremltools.converters.mil.mil import types

    if result.dtype in (types.fp16, types.fp32, types.int32):
        return result
    return mb.cast(x=result, dtype="int32")


def _expected(compute: Any, arrays: Mapping[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    """torch's answer in float32, from operands rounded to ``dtype``, rounded once at the end."""
    tensors = {
        name: torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)
        for name, array in arrays.items()
    }
    results = compute(tensors)
    results = results if isinstance(results, tuple | list) else [results]
    return [
        (result.to(getattr(torch, dtype)) if result.is_floating_point() else result.int()).numpy()
        for result in results
    ]


def _assert_saved(path: Path, built: Counter) -> None:
    """No pass of the converter replaced the operators under test."""
    operations = open_package(path).main.block.operations
    saved = Counter(operation.type for operation in operations)
    assert not built - saved
