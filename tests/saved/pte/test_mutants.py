"""Damage to a valid ``.pte`` file, and who must see it: loading, a rule by its name, or parity."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.backends.opening import open_file
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph, standard_ops
from slide_deploy.graph_checks.census import CENSUS_KEY
from slide_deploy.graph_checks.check import check_graph
from slide_deploy.saved.pte.program import map_program
from slide_deploy.saved.pte.xnnpack import read_xnnpack
from slide_deploy.verification.parity import FLOAT32_LIMIT, compare
from tests.saved.pte.networks import SHAPE, small, written
from tests.support import copied

Damage = Callable[[Path, bytearray], None]


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
    """Where a number of the depthwise convolution stands, found by how it reads when changed."""
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


MUTANTS: tuple[tuple[Damage, str], ...] = (
    (one_weight, "parity"),
    (a_weight_not_a_number, "SD015"),
    (another_epsilon, "SD019"),
    (another_padding, "SD002"),
    (another_stride, "SD002"),
    (another_census, "SD017"),
    (another_name, "SD010"),
    (bytes_behind, "SD013"),
    (half_a_file, "loading"),
    (another_library, "loading"),
    (another_operator, "SD004"),
)


@pytest.mark.parametrize(
    ("damage", "catcher"), MUTANTS, ids=[damage.__name__ for damage, _ in MUTANTS]
)
def test_every_mutant_is_caught(damage: Damage, catcher: str, tmp_path: Path) -> None:
    valid = written().paths["executorch"]
    path = copied(valid, tmp_path)
    content = bytearray(path.read_bytes())
    damage(valid, content)
    assert content != valid.read_bytes()
    path.write_bytes(content)
    if catcher == "loading":
        with pytest.raises(InputError, match=path.name):
            open_file(path)
        return
    rules = {each.rule for each in check_graph(read_graph(path), standard_ops())}
    if catcher != "parity":
        assert catcher in rules
        return
    assert rules == set()
    image = np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)
    right, wrong = (open_file(each)({"image": image})["logits"] for each in (valid, path))
    agreement = compare(wrong, right, float(np.abs(right).max()))
    assert not agreement.within(FLOAT32_LIMIT)
