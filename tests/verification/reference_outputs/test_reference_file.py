"""Reference outputs are read as they were written, and any other content is refused."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from slide_deploy.errors import InputError
from slide_deploy.verification.reference_outputs.reference_file import (
    read_reference,
    reference_path,
    write_reference,
)
from tests.verification.reference_outputs.networks import examples, reference

KEY = "slide_deploy.reference"


def written(folder: Path) -> Path:
    model = folder / "model.onnx"
    write_reference(reference_path(model), reference(*reference().cases, examples(2)))
    return model


def content_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as opened:
        return json.loads(opened.metadata()[KEY]), load_file(path)


def test_written_content_is_read_again(tmp_path: Path) -> None:
    model = written(tmp_path)
    assert reference_path(model).name == "model.onnx.reference.safetensors"
    found, wanted = read_reference(model), reference(*reference().cases, examples(2))
    assert found is not None
    assert (found.limit, found.precision) == (wanted.limit, wanted.precision)
    for ours, theirs in zip(found.cases, wanted.cases, strict=True):
        assert (ours.name, ours.rows, ours.recipes) == (theirs.name, theirs.rows, theirs.recipes)
        assert np.array_equal(ours.case().inputs["image"], theirs.case().inputs["image"])
        for name, output in theirs.outputs.items():
            assert np.array_equal(ours.outputs[name].values, output.values)
            assert ours.outputs[name].sampling == output.sampling
            assert ours.outputs[name].largest == output.largest
    sampled = found.cases[0].outputs["map"]
    assert sampled.sampling is not None and sampled.values.shape == (4096,)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = reference_path(written(tmp_path)).read_bytes()
    assert reference_path(written(tmp_path)).read_bytes() == first


def test_missing_reference_outputs_are_no_error(tmp_path: Path) -> None:
    assert read_reference(tmp_path / "model.onnx") is None


DAMAGE: dict[str, Any] = {
    "version": ("version", 2),
    "no cases": ("cases", []),
    "hash": ("sha256", 3),
    "limit of nothing": ("limit", {"relative": 0, "snr_db": 80}),
    "limit that everything keeps": ("limit", {"relative": float("nan"), "snr_db": 80}),
    "limit missing": ("limit", {}),
    "cases by name": ("cases", {"noise": {}}),
    "too many cases": ("cases", [{}] * 101),
    "a precision that moves the cursor": ("precision", "float32\x1b[2J"),
}
INPUT_DAMAGE: dict[str, tuple[str, Any]] = {
    "huge": ("shape", [2**15, 2**15, 3]),
    "negative": ("shape", [-1, 3]),
    "a text as size": ("shape", ["7"]),
    "axes twice": ("axes", [0, 0, 1, 2]),
    "reverse": ("reverse", 4),
    "frame": ("frame", {"width": -1, "inside": 0}),
    "type": ("dtype", "object"),
    "type of no name": ("dtype", "<:|"),
    "draw": ("draw", 3),
    "draw of another kind": ("draw", {"kind": "gamma"}),
    "draw without its seed": ("draw", {"kind": "normal", "factor": 1.0}),
    "draw from nothing": ("draw", {"kind": "choice", "seed": 1, "values": []}),
    "draw modulo zero": ("draw", {"kind": "pixels", "seed": 1, "lowest": 0, "count": 0}),
    "draw of no number": ("draw", {"kind": "constant", "value": None}),
    "stored nowhere": ("draw", {"kind": "stored"}),
    "a text for a number": ("draw", {"kind": "constant", "value": "3"}),
    "infinite factor": ("draw", {"kind": "normal", "seed": 1, "factor": float("inf")}),
    "factor too large for the type": ("draw", {"kind": "normal", "seed": 1, "factor": 2e38}),
    "factor beyond floats": ("draw", {"kind": "normal", "seed": 1, "factor": 10**400}),
    "choice beyond floats": ("draw", {"kind": "choice", "seed": 1, "values": [10**400]}),
    "choice of no number": ("draw", {"kind": "choice", "seed": 1, "values": [float("nan")]}),
    "choice from a text": ("draw", {"kind": "choice", "seed": 1, "values": "12"}),
    "constant beyond the type": ("draw", {"kind": "constant", "value": 1e39}),
    "inside beyond the type": ("frame", {"width": 1, "inside": 1e39}),
    "axes that are no places": ("axes", [0.0, 1.0, 2.0, 3.0]),
    "reverse that is no place": ("reverse", True),
    "type by another name": ("dtype", ">f4"),
}
WRONG_NAMES = ("", "a" * 81, "noise\x1b[31m", "two\nlines", "\u202eesrever")
OUTPUT_DAMAGE: dict[str, tuple[str, Any]] = {
    "samples from no seed": ("samples", {"seed": -1, "count": 4096}),
    "samples from a large seed": ("samples", {"seed": 2**32, "count": 4096}),
    "samples beyond floats": ("samples", {"seed": 10**400, "count": 4096}),
    "samples that are no count": ("samples", {"seed": 5, "count": 4096.0}),
    "samples of nothing": ("shape", [0, 7, 100, 100]),
    "samples of more than places": ("shape", [2**16, 2**16]),
    "scale below nothing": ("scale", -1.0),
    "scale beyond floats": ("scale", 10**400),
}


@pytest.mark.parametrize("name", [*DAMAGE, *INPUT_DAMAGE, *OUTPUT_DAMAGE, "not json", "no key"])
def test_other_content_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    model = written(tmp_path)
    content, tensors = content_of(reference_path(model))
    if name in DAMAGE:
        key, value = DAMAGE[name]
        content[key] = value
    elif name in INPUT_DAMAGE:
        key, value = INPUT_DAMAGE[name]
        content["cases"][0]["inputs"]["image"][key] = value
    elif name in OUTPUT_DAMAGE:
        key, value = OUTPUT_DAMAGE[name]
        content["cases"][0]["outputs"]["map"][key] = value
    text = "[" * 100_000 if name == "not json" else json.dumps(content)
    metadata = {} if name == "no key" else {KEY: text}
    reference_path(model).write_bytes(save(tensors, metadata))
    with pytest.raises(InputError, match=r"model.onnx.reference.safetensors holds no reference"):
        read_reference(model)


def changed(model: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    content, tensors = content_of(reference_path(model))
    change(content, tensors)
    reference_path(model).write_bytes(save(tensors, {KEY: json.dumps(content)}))


@pytest.mark.parametrize("name", WRONG_NAMES)
@pytest.mark.parametrize("of", ["case", "input", "output"])
def test_names_with_control_characters_are_refused(tmp_path: Path, of: str, name: str) -> None:
    def rename(content: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        case = content["cases"][2]
        old = {"case": "example", "input": "image", "output": "logits"}[of]
        if of == "case":
            case["name"] = name
        else:
            case[of + "s"][name] = case[of + "s"].pop(old)
        for key in [each for each in tensors if each.startswith(("input/example/", "output/exa"))]:
            parts = [name if part == old else part for part in key.split("/")]
            tensors["/".join(parts)] = tensors.pop(key)

    model = written(tmp_path)
    changed(model, rename)
    with pytest.raises(InputError, match="holds no reference outputs") as refused:
        read_reference(model)
    assert name not in str(refused.value) or not name


@pytest.mark.parametrize(
    ("precision", "limit", "sentence"),
    [
        ("float32", {"relative": 2e-4, "snr_db": 80.0}, "allows larger errors than float32 does"),
        ("float32", {"relative": 1e-4, "snr_db": 79.0}, "allows larger errors than float32 does"),
        ("int8", {"relative": 1e9, "snr_db": -1e9}, "allows larger errors than int8 does"),
        ("float4", {"relative": 1e-4, "snr_db": 80.0}, "float4, which .* upgrade with pip install"),
        ("float32", {"relative": 1e-5, "snr_db": 90.0}, None),
        ("int8", {"relative": 0.5, "snr_db": 8.0}, None),
    ],
)
def test_a_file_may_not_loosen_its_own_limit(
    tmp_path: Path, precision: str, limit: dict[str, float], sentence: str | None
) -> None:
    model = written(tmp_path)
    changed(model, lambda content, _: content.update(precision=precision, limit=limit))
    if sentence is None:
        assert read_reference(model) is not None
        return
    with pytest.raises(InputError, match=sentence):
        read_reference(model)


@pytest.mark.parametrize("rows", [0, 3, 8, 1.0, True])
def test_examples_are_whole_rows(tmp_path: Path, rows: object) -> None:
    model = written(tmp_path)
    changed(model, lambda content, _: content["cases"][3].update(rows=rows))
    with pytest.raises(InputError, match="holds no reference outputs"):
        read_reference(model)


def test_a_file_cannot_make_the_reader_allocate_gigabytes(tmp_path: Path) -> None:
    def enlarge(content: dict[str, Any], _: object) -> None:
        for case in content["cases"][:2]:
            case["inputs"]["image"]["shape"] = [1, 3, 2**12, 2**12]

    model = written(tmp_path)
    changed(model, enlarge)  # each is allowed, both are not
    with pytest.raises(InputError, match="holds no reference outputs"):
        read_reference(model)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    beside = reference_path(written(tmp_path))
    content = bytearray(beside.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # The header is where damage matters; the numbers behind it may be any.
        content[data.draw(st.integers(0, min(len(content) - 1, 4000)))] = data.draw(
            st.integers(0, 255)
        )
    beside.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(InputError):
        read_reference(tmp_path / "model.onnx")
