"""Files of ExecuTorch in the common graph: what is inside a delegate is seen, damage is told."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import inspect, read_graph, read_sized, standard_ops
from slide_deploy.graph_checks.check import check_graph
from slide_deploy.graph_checks.mixing import mixings
from slide_deploy.graph_checks.normalisations import normalisations
from slide_deploy.saved.pte.program import map_program
from tests.saved.pte.networks import SHAPE, small, written
from tests.test_architecture import ROOT


@pytest.fixture(scope="module")
def path() -> Path:
    return written().paths["executorch"]


def test_operators_that_mix_channels_inside_a_delegate_are_found(path: Path) -> None:
    found = Counter(str(kind) for _, kind in mixings(read_graph(path)))
    assert found == {
        "convolutions 3 -> 8, kernel 2x2, stride 2x2": 1,
        "convolutions of groups 8, 1 -> 1 a group, kernel 3x3, padding 1": 1,
        "transposed convolutions 8 -> 6, kernel 2x2, stride 2x2": 1,
        "matmuls 6 -> 12": 1,
        "matmuls 6 -> 4": 1,
    }


def test_weights_are_ordered_as_in_other_formats(path: Path) -> None:
    graph, model = read_graph(path), small()
    held = [constant.array() for constant in graph.constants.values()]
    for weight in (model.patches.weight, model.depthwise.weight, model.head.weight):
        wanted = weight.detach().numpy()
        assert any(array is not None and np.array_equal(array, wanted) for array in held)


def test_names_epsilons_and_sizes(path: Path) -> None:
    graph = read_graph(path)
    assert [(each.name, each.shape) for each in graph.inputs] == [("image", (1, *SHAPE))]
    assert [(each.name, each.shape) for each in graph.outputs] == [("logits", (1, 4))]
    assert [each.epsilon for each in normalisations(graph)] == [1e-5]
    assert inspect(graph).macs > 0
    assert graph.left_over == ()
    assert list(check_graph(graph, standard_ops())) == []


@pytest.mark.slow
def test_an_open_batch_is_open(tmp_path: Path) -> None:
    path = written(open_batch=True).paths["executorch"]
    graph = read_graph(path)
    assert graph.inputs[0].shape == (None, *SHAPE)
    assert list(check_graph(graph, standard_ops())) == []
    once, twice = (inspect(read_sized(path, {"image": (size, *SHAPE)})).macs for size in (1, 2))
    assert twice >= once > 0


def test_only_what_no_delegate_takes_is_left(path: Path) -> None:
    """Splits, softmaxes over another axis and expansions without effect are rewritten."""
    method = map_program(path).methods["forward"]
    left = [step.operator for step in method.instructions if step.delegate is None]
    assert set(left) == {"aten::native_layer_norm.out", "aten::mean.out"}


def test_a_file_is_read_without_its_library_and_without_torch(path: Path) -> None:
    code = (
        "import sys\nfrom slide_deploy.graph_checks import read_graph\n"
        f"read_graph({str(path)!r})\n"
        "print([name for name in ('torch', 'executorch', 'flatbuffers') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout.strip() == "[]", out.stderr


def test_many_offsets_to_one_table_do_not_expand(path: Path, tmp_path: Path) -> None:
    """A vector whose many offsets lead to one table is refused before it fills the memory."""
    table = b"\x04\x00\x04\x00" + (4).to_bytes(4, "little")  # vtable without fields, table
    count = 310_000
    root = bytearray(b"\x00" * 8)
    # vtable with two fields, the second of which is the vector of execution plans.
    vtable = b"".join(n.to_bytes(2, "little") for n in (8, 8, 0, 4))
    body = vtable + (8).to_bytes(4, "little") + (4).to_bytes(4, "little")
    start = len(root) + len(vtable)
    root[0:4], root[4:8] = start.to_bytes(4, "little"), b"ET12"
    first = len(root) + len(body) + 4
    end = first + 4 * count + 4
    offsets = b"".join((end - (first + 4 * n)).to_bytes(4, "little") for n in range(count))
    content = bytes(root) + body + count.to_bytes(4, "little") + offsets + table
    target = tmp_path / "many.pte"
    target.write_bytes(content)
    with pytest.raises(InputError, match="more tables than any network needs"):
        read_graph(target)
