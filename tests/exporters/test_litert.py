"""LiteRT files: names and metadata, refusals, and the golden models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")

from exporters.base import exporter_for, quiet
from exporters.litert_file import completed
from slide_deploy.backends import open_file
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.weight_widths import weight_widths
from tests.graph_checks.small_models import declared_request, exported_litert, smallest
from tests.support import FORMATS, exported, exported_path, golden_swin

HOSTS = Path(__file__).parents[1] / "golden" / "hosts"


def test_litert_is_not_part_of_the_quick_formats() -> None:
    assert "litert" not in FORMATS


def test_a_file_agrees_with_its_program_and_xnnpack_runs_all_of_it() -> None:
    session = open_file(exported_litert())
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    program = declared_request(smallest(), (3, 16, 16), format="litert").single
    (wanted,) = program.module()(image)
    answer = session({"image": image.numpy()})["logits"]
    assert np.abs(answer - wanted.detach().numpy()).max() < 1e-5
    assert (session.facts["partitions"], session.facts["not delegated"]) == ("1", "none")
    assert session.metadata["slide_deploy.precision"] == "float32"


def test_open_sizes_are_refused(tmp_path: Path) -> None:
    request = declared_request(smallest(), (3, 16, 16), format="litert", dynamic_batch=True)
    with pytest.raises(InputError, match=r"litert files have fixed sizes, .* leave batch open: "):
        exporter_for("litert").refuse(request)


def test_int8_is_refused() -> None:
    with pytest.raises(InputError, match="litert is not written in int8: choose float32 or float"):
        exporter_for("litert").require("int8")


class Products(nn.Module):
    """A matmul of two activations for one image and one head, and two that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, image: Tensor) -> Tensor:
        return (image @ self.weight) @ torch.tanh(image @ self.weight.clone()).transpose(1, 2)


@pytest.mark.slow
def test_xnnpack_runs_matmuls_of_two_activations(tmp_path: Path) -> None:
    import litert_torch

    model, image = Products().eval(), torch.randn(1, 6, 8)
    with quiet():
        content = litert_torch.convert(model, (image,)).model_content()
    path = tmp_path / "products.tflite"
    path.write_bytes(completed(content, ["image"], ["logits"], {"slide_deploy.a": "b"}))
    graph = read_graph(path)
    assert graph.metadata == {"slide_deploy.a": "b"}
    assert all(
        node.inputs[1] in graph.constants
        for node in graph.nodes
        if node.operator == "FULLY_CONNECTED"
    )
    session = open_file(path)
    assert session.facts["not delegated"] == "none"
    with torch.no_grad():
        np.testing.assert_allclose(
            session({"image": image.numpy()})["logits"], model(image).numpy(), rtol=1e-4, atol=1e-5
        )


# Each takes ten seconds of CPU time. The catalogue of mutants covers Slide-Swin.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("slide_pvt_nano", marks=pytest.mark.slow),
        pytest.param("slide_cswin_nano", marks=pytest.mark.full),
        pytest.param("slide_pvt_v2_nano_k35", marks=pytest.mark.full),
        pytest.param("slide_pvt_v2_nano", marks=pytest.mark.full),
        pytest.param("slide_nat_nano", marks=pytest.mark.full),
        pytest.param("slide_nat_nano_padded", marks=pytest.mark.full),
        pytest.param("slide_cswin_nano_k5", marks=pytest.mark.full),
    ],
)
def test_golden_families_are_written_and_proved(run, tmp_path: Path, name: str) -> None:
    code, out, err = run("export", HOSTS / f"{name}.pth", "--to", "litert", "--out", tmp_path)
    assert code == 0, err
    assert "pass" in out
    left = open_file(tmp_path / f"{name}.tflite").facts["not delegated"]
    # NAT gathers its tiles with index tables, which XNNPACK does not support.
    assert left.partition(" ")[0] in (("GATHER_ND", "none") if "nat" in name else ("none",))


@pytest.mark.slow
def test_float16_halves_the_weights_and_keeps_the_policy() -> None:
    nano = golden_swin("slide_swin_nano_1stage").load()
    path = exported_path(exported(nano, formats=("litert",), precision="float16"), "litert")
    graph = read_graph(path)
    assert {each.bits for each in weight_widths(graph)} == {16}
    assert open_file(path).facts["not delegated"] == "none"
