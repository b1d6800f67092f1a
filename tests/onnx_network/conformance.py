"""The conformance tests of the ONNX standard: small models with inputs and expected outputs."""

import pickle
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from slide_deploy.errors import InputError
from slide_deploy.onnx_network.building import parts_of
from slide_deploy.onnx_network.module import FUNCTIONS
from slide_deploy.onnx_network.operators import UnsupportedOperatorError
from slide_deploy.onnx_network.reading import read_model, type_of
from tests.shared import once

STORED = Path(onnx.__file__).parent / "backend" / "test" / "data"

# Relative and absolute. The standard's own relative tolerance is 1e-3. The module computes in
# float32, whereas every step of a case in 16 bits rounds: to 8 or 11 digits, several times.
_TOLERANCES = {"bfloat16": (2**-6, 2**-7), "float16": (2**-9, 2**-10)}


@dataclass(frozen=True)
class Case:
    """A model of one operator, or of the operators that its function consists of."""

    name: str
    model: bytes
    operators: frozenset[str]
    sets: tuple[tuple[list[Any], list[Any]], ...]

    @property
    def can_be_read(self) -> bool:
        return self.operators <= {*FUNCTIONS, "Constant"}


@cache
def cases() -> tuple[Case, ...]:
    """All of them; the onnx library takes seconds to make them."""
    path = once("conformance", _make)
    return tuple(pickle.loads(path.read_bytes()))


def _make(folder: Path) -> Path:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some divide by zero on purpose
        found = [
            Case(
                each.name,
                each.model.SerializeToString(),
                frozenset(node.op_type for node in each.model.graph.node),
                tuple(each.data_sets or ()),
            )
            for each in collect_testcases(None)
        ]
    path = folder / "cases.pickle"
    path.write_bytes(pickle.dumps(found))
    return path


def outcome(case: Case, folder: Path) -> str:
    """ "right", "wrong: ..." or "refused: ..."; any other error is raised."""
    path = folder / "model.onnx"
    path.write_bytes(case.model)
    try:
        model = read_model(path)
        for each in model.graph.inputs:
            type_of(each)
        module = parts_of(model).module().eval()
        for inputs, expected in case.sets:
            given = dict(zip(module.inputs, map(_tensor, inputs), strict=True))
            with torch.no_grad():
                found = module.run(given)
            for mine, theirs in zip(found, expected, strict=True):
                difference = _difference(mine, _array(theirs))
                if difference:
                    return f"wrong: {difference}"
    except (InputError, UnsupportedOperatorError) as error:
        return f"refused: {error}"
    return "right"


def _array(value: Any) -> np.ndarray[Any, Any]:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _is_float(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _tensor(value: Any) -> Tensor:
    array = np.asarray(_array(value))
    if _is_float(array):
        array = array.astype(np.float32)
    return torch.from_numpy(np.asarray(array, order="C"))


def _difference(found: Tensor, expected: np.ndarray[Any, Any]) -> str:
    """What differs; empty if they agree as far as the type of the expected values can tell."""
    mine, theirs = found.numpy(), np.asarray(expected)
    if mine.shape != theirs.shape:
        return f"shape {mine.shape} in place of {theirs.shape}"
    if not _is_float(theirs):
        if mine.dtype != theirs.dtype:
            return f"type {mine.dtype} in place of {theirs.dtype}"
        return "" if np.array_equal(mine, theirs) else "other integers"
    if mine.dtype != np.float32:
        return f"type {mine.dtype} in place of a floating-point type"
    relative, absolute = _TOLERANCES.get(theirs.dtype.name, (1e-3, 1e-6))
    with np.errstate(over="ignore"):
        theirs = theirs.astype(np.float32)
    if np.allclose(mine, theirs, relative, absolute, equal_nan=True):
        return ""
    return f"{mine.ravel()[:4]} in place of {theirs.ravel()[:4]}"
