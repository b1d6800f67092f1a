"""ONNX files in two parts, without weights of 2 GiB."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import uses_external_data

from slide_deploy.backends.onnxruntime import large_models

# Networks whose files the tests write, and the copy that ONNX Runtime opens.
_STEMS = ("model", "test", "folded", "slide_swin_nano")


@contextmanager
def lowered(limit: int = 1000) -> Iterator[None]:
    """A block in which a file may hold weights of so many bytes only.

    The current folder has other files of the names under which weights are written, because the
    onnx package looks for them there and refuses to write elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_models, "LARGEST", limit)
        for stem in _STEMS:
            (Path(folder) / f"{stem}.onnx.data").touch()
        patch.chdir(folder)
        yield


def outside(path: Path) -> list[str]:
    """The names of the tensors that a file does not hold, which are all of ``NAME.onnx.data``."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    found = [each for each in tensors if uses_external_data(each)]
    places = [{entry.key: entry.value for entry in each.external_data} for each in found]
    data = path.with_name(f"{path.name}.data")
    if data.exists():
        assert {each["location"] for each in places} == {data.name}
        assert sum(int(each["length"]) for each in places) == data.stat().st_size
    return [each.name for each in found]
