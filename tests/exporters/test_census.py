"""Files of all kinds of networks match the census of their program: none is refused wrongly."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from exporters.base import exporter_for
from exporters.census import census
from exporters.declarations import request_declarations
from exporters.epsilons import epsilons
from exporters.outcome import ExportResult
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.census import CENSUS_KEY, Census, Count, read_census
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.mixing import MixingGeometry, mixings
from slide_deploy.graph_checks.normalisations import normalisations
from tests.graph_checks.networks import NETWORKS, network
from tests.hosts.outcome import outcome
from tests.hosts.plain import LONG_FORMATS, NAMED
from tests.support import image_request

FORMATS = ("onnx", "openvino", "coreml")
QUICK = ("plain CNN", "MobileOne", "upsampler")


def written(name: str, format: str) -> Path:
    """Return the file of a network that the tests of all hosts share."""
    result = outcome(NAMED[name], format)
    assert isinstance(result, ExportResult), result
    return result.files[0].paths[0]


def write(
    model: nn.Module, shape: tuple[int, ...], folder: Path, formats: Sequence[str]
) -> dict[str, Path]:
    metadata: dict[str, str] = {}
    request = image_request(model, shape, False, metadata)
    metadata |= request_declarations(request, model, {})
    files = {}
    for format in formats:
        exporter = exporter_for(format)
        files[format] = folder / f"model{exporter.suffix}"
        exporter.write(request, files[format])
    return files


def says(graph: Graph) -> list[str]:
    return [f"{each.rule} {each.node}: {each.message}" for each in check_graph(graph, POLICY)]


POLICY = standard_ops()


def cases() -> list[object]:
    """Quick: some networks in one format each. Slow: the files of the slow host tests."""
    return [
        pytest.param(
            name,
            format,
            marks=pytest.mark.full
            if format not in LONG_FORMATS[name]
            else []
            if name in QUICK
            else pytest.mark.slow,
        )
        for name in NETWORKS
        for format in FORMATS
    ]


@pytest.mark.parametrize(("name", "format"), cases())
def test_a_right_file_keeps_every_rule(name: str, format: str) -> None:
    assert says(read_graph(written(name, format))) == []


@pytest.mark.parametrize(("name", "format"), cases())
def test_a_missing_operator_is_detected(name: str, format: str) -> None:
    graph = read_graph(written(name, format))
    declared = read_census(graph.metadata)
    assert declared is not None
    counts = declared.mixings
    present = list(mixings(graph))
    assert present
    for node, kind in present:
        if counts[kind].least == counts[kind].most:
            assert any(line.startswith("SD017") for line in says(without(graph, node))), kind


def without(graph: Graph, node: Node) -> Graph:
    return replace(graph, nodes=tuple(other for other in graph.nodes if other is not node))


def program(name: str) -> torch.export.ExportedProgram:
    model, shape = network(name)
    return image_request(model, shape).single


def traced(model: nn.Module, *shape: int) -> torch.export.ExportedProgram:
    return torch.export.export(model.eval(), (torch.zeros(1, *shape),))


def test_the_census_of_a_plain_network() -> None:
    ones, pairs = (1, 1), ((1, 1), (1, 1))
    assert census(program("plain CNN")) == Census(
        {
            MixingGeometry(1, 3, 16, (3, 3), pairs, (2, 2), ones): Count(1, 1),
            MixingGeometry(1, 16, 32, (3, 3), pairs, ones, ones): Count(1, 1),
            MixingGeometry(4, 8, 8, (3, 3), ((2, 2), (2, 2)), ones, (2, 2)): Count(1, 1),
            MixingGeometry(1, 32, 10): Count(1, 1),
        },
        rank=4,
    )


@pytest.mark.parametrize(
    ("layer", "rank"), [(nn.PixelShuffle(2), 6), (nn.ChannelShuffle(2), 5), (nn.ReLU(), 4)]
)
def test_the_rank_of_a_program_counts_what_converters_split(layer: nn.Module, rank: int) -> None:
    assert census(traced(nn.Sequential(nn.Conv2d(2, 4, 1), layer), 2, 8, 8)).rank == rank


def test_zeros_around_a_feature_map_are_padding() -> None:
    model = nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(2, 4, 3, padding=1))
    (kind,) = census(traced(model, 2, 8, 8)).mixings
    assert kind.pads == ((1, 4), (2, 3))
    model = nn.Sequential(nn.ConstantPad2d(1, 0.5), nn.Conv2d(2, 4, 3, padding=1))
    (kind,) = census(traced(model, 2, 8, 8)).mixings
    assert kind.pads == ((1, 1), (1, 1))
    model = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(2, 4, 3))
    (kind,) = census(traced(model, 2, 8, 8)).mixings
    assert kind.pads == ((0, 0), (0, 0))


def test_operators_that_no_output_depends_on_are_not_counted() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept, self.dropped = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.dropped(x)
            out: Tensor = self.kept(x)
            return out

    assert census(traced(Dead(), 4)).mixings == {MixingGeometry(1, 4, 3): Count(1, 1)}


def test_mergeable_and_fusible_operators_have_a_range() -> None:
    assert census(program("shared")).mixings == {
        MixingGeometry(1, 16, 16): Count(
            3, 4
        ),  # three of the layer, two alike, and the folded matrix
        MixingGeometry(1, 9, 9): Count(1, 1),
    }
    held = census(program("pooling")).mixings
    assert held[MixingGeometry(1, 16, 3)] == Count(0, 2)  # queries in both attentions
    assert held[MixingGeometry(1, 16, 16)] == Count(2, 2)


def test_intended_branches_are_declared() -> None:
    assert census(program("MobileOne")).branched_pairs == 2
    assert census(program("RepVGG")).branched_pairs == 0  # of two geometries each


def test_masks_of_minus_infinity_are_declared() -> None:
    assert census(program("causal")).infinities
    assert not census(program("ViT")).infinities


def test_a_recurrent_cell_may_be_any_number_of_matmuls(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.last = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            out: Tensor = self.last(self.cells(tokens)[0])
            return out

    model = Recurrent().eval()
    assert census(traced(model, 5, 8)).hidden_matmuls
    with pytest.raises(InputError, match="Unsupported fx node lstm"):
        write(
            model, (5, 8), tmp_path, FORMATS
        )  # Core ML's converter has none; the others are written
    for path in tmp_path.glob("*.[ox]*"):
        assert not any("SD017" in line for line in says(read_graph(path))), path


def test_epsilons_are_those_of_the_program() -> None:
    assert epsilons(program("upsampler")) == {1e-4: Count(1, 1), 1e-3: Count(1, 1)}
    assert epsilons(program("plain CNN")) == {1e-5: Count(0, 1), 1e-3: Count(0, 1)}
    # Two operators of torch, and two decomposed ones that OpenVINO fuses into operators.
    assert epsilons(program("ConvNeXt")) == {1e-6: Count(1, 3)}
    assert epsilons(program("RMS")) == {1e-4: Count(0, 1)}


@pytest.mark.parametrize("format", FORMATS)
def test_group_and_instance_normalisations_are_found_decomposed_or_not(format: str) -> None:
    graph = read_graph(written("upsampler", format))
    found = list(normalisations(graph))
    assert len(found) == 2
    for each in found:
        lines = says(without(graph, each.node))
        assert any(line.startswith("SD019") and "the graph has 0" in line for line in lines)


class Copying(nn.Module):
    """Copies neighbours in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 4, 3)
        self.shift = nn.Conv2d(4, 36, 3, bias=False)
        self.register_buffer("table", torch.tensor([[0, 3], [1, 2], [2, 0]]))
        with torch.no_grad():
            self.shift.weight.copy_(torch.eye(36).reshape(36, 4, 3, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.conv(image)
        if self.way == "unfold":
            return nn.functional.unfold(maps, 3)
        return maps[:, self.table] if self.way == "index" else self.shift(maps)


@pytest.mark.parametrize("way", ["unfold", "index", "convolution"])
def test_a_network_may_copy_neighbours_itself(way: str, tmp_path: Path) -> None:
    model = Copying(way).eval().requires_grad_(False)
    path = write(model, (3, 8, 8), tmp_path, ["onnx"])["onnx"]
    assert says(read_graph(path)) == []
    other = onnx.load(path)
    (entry,) = (prop for prop in other.metadata_props if prop.key == CENSUS_KEY)
    entry.value = entry.value.replace('"copies":true', '"copies":false')
    onnx.save(other, path)
    assert {text[:5] for text in says(read_graph(path))} == {"SD016"}
