"""Core ML packages with compressed weights agree, pass the rules, and are small."""

from pathlib import Path

import pytest
import torch
from torch import nn

from exporters import pipeline
from exporters.outcome import ExportedFile, ExportOptions
from slide_deploy.graph_checks import Graph, check_file, read_graph
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.weight_widths import weight_widths
from slide_deploy.precisions import precision_named
from tests.support import image_network, randomise


class Biased(nn.Module):
    """Tokens with a position table, two projections and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 4, 4)
        self.table = nn.Parameter(torch.zeros(1, 64, 64))
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
        self.head = nn.Linear(64, 40)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.table
        tokens = tokens + self.down(nn.functional.gelu(self.up(tokens)))
        logits: torch.Tensor = self.head(tokens.mean(1))
        return logits


def export(precision: str, folder: Path) -> ExportedFile:
    model = randomise(Biased(), seed=5)
    options = ExportOptions(("coreml",), folder, precision=precision)
    (file,) = pipeline.export(image_network(model, (3, 32, 32)), options).files
    return file


def small(graph: Graph) -> int:
    """Count the elements that are stored in compressed types."""
    return sum(each.elements for each in graph.constants.values() if "int8" in each.dtype)


@pytest.mark.parametrize(
    ("precision", "bits", "share"),
    [("int8-weights", 8, 0.65), pytest.param("palettes", 6, 0.55, marks=pytest.mark.slow)],
)
def test_weights_are_compressed_and_outputs_agree(
    precision: str, bits: int, share: float, tmp_path: Path
) -> None:
    file, half = export(precision, tmp_path / "small"), export("float16", tmp_path / "half")
    assert file.passed, file.verification.worst
    assert file.verification.limit == precision_named(precision).limit
    assert file.size < share * half.size
    graph = read_graph(file.paths[0])
    assert graph.metadata[PRECISION_KEY] == precision
    widths = {width.node.name: width for width in weight_widths(graph)}
    assert sorted(width.bits for width in widths.values())[:3] == [bits] * 3
    assert all(
        width.is_palette == (precision == "palettes")
        for width in widths.values()
        if width.bits < 16
    )
    assert check_file(file.paths[0]).passed
    # The arithmetic is float16.
    assert {value.dtype for value in graph.values.values() if "float" in value.dtype} >= {"float16"}


def test_position_tables_are_compressed(tmp_path: Path) -> None:
    graph = read_graph(export("int8-weights", tmp_path).paths[0])
    large = [each for each in graph.constants.values() if each.elements >= 4096]
    assert large
    assert all("int8" in each.dtype for each in large)
