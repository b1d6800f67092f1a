"""Damage to the bytes of an exported ExecuTorch file, because its format has no editor."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.census import CENSUS_KEY
from slide_deploy.saved.pte.program import map_program
from slide_deploy.saved.pte.xnnpack import read_xnnpack
from tests.saved.pte.networks import small

Damage = Callable[[Path, bytearray], None]
"""A function of the valid file's path and a copy of its content, which it changes."""


def in_content(damage: Damage) -> Callable[[Path], None]:
    """Damage to a file in place."""

    def edit(path: Path) -> None:
        content = bytearray(path.read_bytes())
        whole = bytes(content)
        damage(path, content)
        assert content != whole
        path.write_bytes(content)

    return edit


def weight_of(path: Path, like: np.ndarray) -> int:
    """The first byte of a weight in the file."""
    for constant in read_graph(path).constants.values():
        array = constant.array()
        if array is not None and np.array_equal(array, like):
            return int(constant.source.partition(":")[0])
    raise AssertionError("the file has no such weight")


def patches() -> np.ndarray:
    return small().patches.weight.detach().numpy()


def one_weight(path: Path, content: bytearray) -> None:
    at = weight_of(path, patches())
    (held,) = struct.unpack_from("<f", content, at)
    struct.pack_into("<f", content, at, held + 0.5)


def a_weight_not_a_number(path: Path, content: bytearray) -> None:
    struct.pack_into("<f", content, weight_of(path, patches()), float("nan"))


def another_epsilon(path: Path, content: bytearray) -> None:
    old, new = (struct.pack("<d", epsilon) for epsilon in (1e-5, 1e-3))
    assert content.count(old) == 1
    content[:] = content.replace(old, new)


def inside_the_convolution(path: Path, field: str, by: int) -> int:
    """The offset of a number of the depthwise convolution, found by reading changed copies."""
    method = map_program(path).methods["forward"]
    for delegate in method.delegates:
        if any(node.operator == "DepthwiseConv2d" for node in read_xnnpack(delegate.payload).nodes):
            payload = np.array(delegate.payload)
            for at in range(0, payload.size - 4):
                if payload[at] != 1 or payload[at + 1 : at + 4].any():
                    continue
                payload[at] = by
                try:
                    nodes = read_xnnpack(payload).nodes
                except ValueError:
                    nodes = ()
                payload[at] = 1
                found = [node for node in nodes if node.operator == "DepthwiseConv2d"]
                if found and found[0].integers[field] == by:
                    return delegate.start + at
    raise AssertionError(f"{field} is not in the file")


def another_padding(path: Path, content: bytearray) -> None:
    content[inside_the_convolution(path, "top", 2)] = 2


def another_stride(path: Path, content: bytearray) -> None:
    content[inside_the_convolution(path, "stride_height", 2)] = 2


def another_census(path: Path, content: bytearray) -> None:
    held = json.loads(map_program(path).text_of("slide_deploy"))["metadata"][CENSUS_KEY]
    assert '"outputs":8' in held
    text = rb"\"outputs\":8"
    assert text in content
    content[:] = content.replace(text, rb"\"outputs\":9", 1)


def another_name(path: Path, content: bytearray) -> None:
    content[:] = content.replace(b'"inputs":["image"]', b'"inputs":["iMage"]', 1)


def bytes_behind(path: Path, content: bytearray) -> None:
    content.extend(b"stale weights" * 20)


def half_a_file(path: Path, content: bytearray) -> None:
    del content[len(content) // 2 :]


def another_library(path: Path, content: bytearray) -> None:
    content[:] = content.replace(b"XnnpackBackend", b"XnnpackBackenD")


def another_operator(path: Path, content: bytearray) -> None:
    content[:] = content.replace(b"aten::mean", b"aten::MEAN")
