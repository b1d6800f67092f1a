"""SD017: a file of any form matches its census, and every missing or new operator is found."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.base import exporter_for
from slide_deploy.graph_checks import check_file, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.census import (
    CENSUS_KEY,
    Census,
    Count,
    census_text,
    read_census,
)
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.mixing import MixingGeometry, mixings
from slide_deploy.lowerings import FORMS, Lowering
from slide_deploy.models.slide_swin import SlideSwin
from tests.graph_checks.small_models import (
    FORMS_OF_STAGES,
    Files,
    declared_request,
    export,
    on_maps_at_any_price,
)
from tests.support import random_swin

FORMATS = ("onnx", "openvino", "coreml")


@pytest.fixture(
    params=["onnx", *(pytest.param(each, marks=pytest.mark.full) for each in FORMATS[1:])]
)
def graph(request: pytest.FixtureRequest, every_form: Callable[[str], Path]) -> Graph:
    """The file with all forms, in each format in turn."""
    return read_graph(every_form(request.param))


def reported(graph: Graph) -> list[str]:
    """The messages of SD017."""
    return [
        f"{violation.node}: {violation.message}"
        for violation in check_graph(graph, standard_ops())
        if violation.rule == "SD017"
    ]


def counted(graph: Graph) -> Census:
    census = read_census(graph.metadata)
    assert census is not None
    return census


def without(graph: Graph, node: Node) -> Graph:
    return replace(graph, nodes=tuple(other for other in graph.nodes if other is not node))


def declaring(graph: Graph, census: Census) -> Graph:
    """The graph with another census."""
    return replace(graph, metadata=graph.metadata | {CENSUS_KEY: census_text(census)})


def see_whatever_is_missing(graph: Graph) -> int:
    """The number of geometries for which one missing operator too many is found."""
    held: dict[MixingGeometry, list[Node]] = defaultdict(list)
    for node, kind in mixings(graph):
        held[kind].append(node)
    census = counted(graph)
    assert held.keys() == census.mixings.keys()
    for kind, nodes in held.items():
        damaged = graph
        for node in nodes[: len(nodes) - census.mixings[kind].least + 1]:
            damaged = without(damaged, node)
        assert any(f"{kind}, and the graph has" in line for line in reported(damaged)), kind
    return len(held)


def test_every_form_is_tried_with_one_head_and_with_several() -> None:
    for texts in FORMS_OF_STAGES:
        assert {Lowering.parse(text).form for text in texts} == FORMS.keys()


@pytest.mark.full
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_all_forms_passes_every_rule(
    every_form: Callable[[str], Path], format: str
) -> None:
    assert check_file(every_form(format)).violations == ()


@pytest.mark.full
def test_every_missing_operator_is_found(graph: Graph) -> None:
    # Forms have 17 geometries in the two stages; the rest of the network has the others.
    assert see_whatever_is_missing(graph) > 17


@pytest.mark.full
def test_a_file_in_another_form_is_found(graph: Graph, exported: Files) -> None:
    other = read_graph(exported[graph.format])
    assert reported(declaring(graph, counted(other)))
    assert reported(declaring(other, counted(graph)))


@pytest.mark.slow_but_first
@pytest.mark.parametrize("format", FORMATS)
def test_an_operator_more_or_less_is_found(exported: Files, format: str) -> None:
    graph = read_graph(exported[format])
    assert reported(graph) == []
    for kind, count in counted(graph).mixings.items():
        assert count.least == count.most  # nothing is left to the converters here
        for change in (-1, 1):
            mixings_ = dict(counted(graph).mixings)
            mixings_[kind] = Count(count.least + change, count.most + change)
            if mixings_[kind].most:
                (line,) = reported(declaring(graph, Census(mixings_)))
                assert f"has {count.most + change} {kind}, and the graph has {count.most}" in line
        fewer = {other: held for other, held in counted(graph).mixings.items() if other != kind}
        (line,) = reported(declaring(graph, Census(fewer)))
        assert f"The exported program has no {kind}" in line


def test_a_file_without_a_census_must_be_exported_again(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    metadata = {key: text for key, text in graph.metadata.items() if key != CENSUS_KEY}
    (violation,) = check_graph(replace(graph, metadata=metadata), standard_ops())
    assert violation.rule == "SD017"
    assert "Export it again with this version of slide-deploy" in violation.remedy


@pytest.mark.full
def test_heads_of_one_feature(tmp_path: Path) -> None:
    """The matmuls of the form flat then have a row or a column, which is a matrix as well."""
    files = export(random_swin(num_heads=(8, 2, 4)), tmp_path, lowering=Lowering("flat"))
    for path in files.values():
        graph = read_graph(path)
        assert MixingGeometry(1, 1, 8) in counted(graph).mixings
        assert reported(graph) == []


def on_maps(model: SlideSwin, lowering: Lowering, folder: Path) -> Graph:
    """An ONNX file as it is shipped: slide stages and their normalisations are in NCHW."""
    with on_maps_at_any_price():
        request = declared_request(model, (3, *model.config.image_size), lowering, format="onnx")
    exporter_for("onnx").write(request, folder / "maps.onnx")
    return read_graph(folder / "maps.onnx")


ON_MAPS = [form for form in FORMS if FORMS[form].is_nchw]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=[] if form == "depthwise" else pytest.mark.full) for form in ON_MAPS],
)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"num_heads": (8, 16, 4)}, id="d 1", marks=pytest.mark.full),
        pytest.param({"kernel_size": 1}, id="k 1", marks=pytest.mark.full),
    ],
)
def test_nchw_stages_match_their_census(form: str, settings: dict, tmp_path: Path) -> None:
    if settings.get("kernel_size") == 1 and form == "running-mean":
        pytest.skip("a position without neighbours has no running mean")
    graph = on_maps(random_swin(**settings), Lowering(form), tmp_path)
    assert reported(graph) == []
    see_whatever_is_missing(graph)


CONVOLUTION = {
    "groups": 2,
    "inputs": 1,
    "outputs": 3,
    "kernel": [3, 3],
    "pads": [[1, 1], [0, 1]],
    "strides": [1, 2],
    "dilations": [1, 1],
    "least": 1,
    "most": 2,
}


def test_a_census_is_read_as_it_was_written() -> None:
    product = {"inputs": 4, "outputs": 5, "least": 0, "most": 1}
    text = json.dumps({"mixings": [CONVOLUTION, product], "branched_pairs": 3})
    census = read_census({CENSUS_KEY: text})
    kind = MixingGeometry(2, 1, 3, (3, 3), ((1, 1), (0, 1)), (1, 2), (1, 1))
    assert census == Census({kind: Count(1, 2), MixingGeometry(1, 4, 5): Count(0, 1)}, 3)
    assert read_census({CENSUS_KEY: census_text(census)}) == census
    assert read_census({}) is None


def entry(**changes: object) -> str:
    held = {key: value for key, value in (CONVOLUTION | changes).items() if value is not None}
    return json.dumps({"mixings": [held]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (" " * 200_001, "has 200,001 characters"),
        ("[]", "has no list of mixings"),
        ('{"mixings": {}}', "has no list of mixings"),
        ('{"mixings": [1]}', "an entry that is not an object"),
        ('{"mixings": [], "branched_pairs": -1}', "has branched_pairs"),
        ('{"mixings": [], "hidden_products": 1}', "that are neither true nor false"),
        ('{"mixings": [], "infinities": "no"}', "that are neither true nor false"),
        (entry(inputs=None), "without groups, inputs and outputs"),
        (entry(groups=0), "without groups, inputs and outputs"),
        (entry(outputs=2**31), "without groups, inputs and outputs"),
        (entry(kernel="3x3"), "that are not lists of numbers"),
        (entry(pads=[1, 1]), "that are not lists of numbers"),
        (entry(pads=[[1], [1]]), "do not fit their kernel"),
        (entry(pads=[[1, 1]]), "do not fit their kernel"),
        (entry(strides=[1]), "do not fit their kernel"),
        (entry(most=0), "without a valid least and most"),
        (entry(least=3), "without a valid least and most"),
        (entry(least=True), "without a valid least and most"),
        (json.dumps({"mixings": [CONVOLUTION, CONVOLUTION]}), "twice"),
    ],
)
def test_an_invalid_census_breaks_the_rule(exported: Files, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_census({CENSUS_KEY: text})
    graph = read_graph(exported["onnx"])
    (line,) = reported(replace(graph, metadata=graph.metadata | {CENSUS_KEY: text}))
    assert "The file's slide_deploy.census" in line
