"""Reference outputs on disk: what is written is read, and nothing else is."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from slide_deploy.errors import InputError
from slide_deploy.references.reference_file import read_reference, reference_path, write_reference
from tests.references.networks import examples, reference

KEY = "slide_deploy.reference"


def written(folder: Path) -> Path:
    model = folder / "model.onnx"
    write_reference(reference_path(model), reference(*reference().cases, examples(2)))
    return model


def content_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as opened:
        return json.loads(opened.metadata()[KEY]), load_file(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    model = written(tmp_path)
    assert reference_path(model).name == "model.onnx.reference.safetensors"
    found, wanted = read_reference(model), reference(*reference().cases, examples(2))
    assert found is not None
    assert (found.limit, found.precision) == (wanted.limit, wanted.precision)
    for ours, theirs in zip(found.cases, wanted.cases, strict=True):
        assert (ours.name, ours.rows, ours.recipes) == (theirs.name, theirs.rows, theirs.recipes)
        assert np.array_equal(ours.case().inputs["image"], theirs.case().inputs["image"])
        for name, answer in theirs.answers.items():
            assert np.array_equal(ours.answers[name].values, answer.values)
            assert ours.answers[name].sampling == answer.sampling
            assert ours.answers[name].largest == answer.largest
    sampled = found.cases[0].answers["map"]
    assert sampled.sampling is not None and sampled.values.shape == (4096,)


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    first = reference_path(written(tmp_path)).read_bytes()
    assert reference_path(written(tmp_path)).read_bytes() == first


def test_no_reference_is_no_error(tmp_path: Path) -> None:
    assert read_reference(tmp_path / "model.onnx") is None


DAMAGE: dict[str, Any] = {
    "version": ("version", 2),
    "no cases": ("cases", []),
    "hash": ("sha256", 3),
    "limit of nothing": ("limit", {"relative": 0, "snr_db": 80}),
    "limit that everything keeps": ("limit", {"relative": float("nan"), "snr_db": 80}),
    "limit missing": ("limit", {}),
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
}


@pytest.mark.parametrize("name", [*DAMAGE, *INPUT_DAMAGE, "samples", "not json", "no key"])
def test_other_content_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    model = written(tmp_path)
    content, tensors = content_of(reference_path(model))
    if name in DAMAGE:
        key, value = DAMAGE[name]
        content[key] = value
    elif name in INPUT_DAMAGE:
        key, value = INPUT_DAMAGE[name]
        content["cases"][0]["inputs"]["image"][key] = value
    elif name == "samples":
        content["cases"][0]["outputs"]["map"]["samples"]["count"] = 7
    text = "[" * 100_000 if name == "not json" else json.dumps(content)
    metadata = {} if name == "no key" else {KEY: text}
    reference_path(model).write_bytes(save(tensors, metadata))
    with pytest.raises(InputError, match=r"model.onnx.reference.safetensors holds no reference"):
        read_reference(model)


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
