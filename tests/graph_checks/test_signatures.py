"""Files of every form keep the rules, and lack none of the operators that make the form."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from slide_deploy.graph_checks.signatures import SIGNATURES, Geometry, mixings, signature

from exporters.base import ExportRequest
from exporters.declarations import declarations
from exporters.registry import exporter_for
from slide_deploy.graph_checks import check_file, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import (
    ATTENTIONS_KEY,
    LOWERING_KEY,
    Declaration,
    read_declarations,
)
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.lowerings import FORMS, Lowering, Traits, chosen, lower
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.reparameterize import reparameterize
from tests.graph_checks.small_models import FORMS_OF_STAGES, Files, export
from tests.support import random_swin

FORMATS = ("onnx", "openvino", "coreml")


@pytest.fixture(params=FORMATS)
def graph(request: pytest.FixtureRequest, every_form_exported: Files) -> Graph:
    """The file with all forms, in each format in turn."""
    return read_graph(every_form_exported[request.param])


def says(graph: Graph) -> list[str]:
    """What SD017 says."""
    return [
        f"{violation.node}: {violation.message}"
        for violation in check_graph(graph, standard_ops())
        if violation.rule == "SD017"
    ]


def declared(graph: Graph) -> tuple[Declaration, ...]:
    declarations = read_declarations(graph.metadata)
    assert declarations is not None
    return declarations


def without(graph: Graph, node: Node) -> Graph:
    return replace(graph, nodes=tuple(other for other in graph.nodes if other is not node))


def declaring(graph: Graph, position: int, **changes: object) -> Graph:
    """The graph where the declaration of one attention says something else."""
    entries = json.loads(graph.metadata[ATTENTIONS_KEY])
    entries[position] |= changes
    return replace(graph, metadata=graph.metadata | {ATTENTIONS_KEY: json.dumps(entries)})


def test_every_form_has_a_signature_and_is_tried_with_one_head_and_with_several() -> None:
    assert SIGNATURES.keys() == FORMS.keys()
    for texts in FORMS_OF_STAGES:
        assert {Lowering.parse(text).form for text in texts} == FORMS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_all_forms_keeps_every_rule(every_form_exported: Files, format: str) -> None:
    assert check_file(every_form_exported[format]).violations == ()


@pytest.mark.slow
def test_every_attention_declares_its_own_form_and_strips(graph: Graph) -> None:
    texts = [text for texts in FORMS_OF_STAGES for text in texts]
    found = [
        each.lowering if each.strips == 1 else f"{each.lowering}/{each.strips}"
        for each in declared(graph)
    ]
    assert found == texts
    assert LOWERING_KEY not in graph.metadata


def operators_of_forms(graph: Graph) -> Iterator[tuple[Geometry, list[Node]]]:
    """Of each geometry that declared attentions ask for, as many operators as leave one too few."""
    asked: Counter[Geometry] = Counter()
    for each in declared(graph):
        for kind, number in signature(each).items():
            asked[kind.padded_anyhow] += number
    for kind, number in asked.items():
        held = [node for node, found in mixings(graph) if found.padded_anyhow == kind]
        assert len(held) >= number
        yield kind, held[: len(held) - number + 1]


@pytest.mark.slow
def test_whatever_is_missing_is_seen(graph: Graph) -> None:
    kinds = list(operators_of_forms(graph))
    # depthwise, per-offset, running-mean, dual and flat: 1 + 3 + 1 + 2 + 2 in each stage, but
    # for running sums, which are alike in both; broadcast has none of its own.
    assert len(kinds) == 17
    for kind, nodes in kinds:
        damaged = graph
        for node in nodes:
            damaged = without(damaged, node)
        assert any("and the graph has" in line for line in says(damaged)), kind


@pytest.mark.slow
def test_one_of_the_wrong_form_is_seen(graph: Graph) -> None:
    for position, attention in enumerate(declared(graph)):
        # Spreads have no groups: too many of them may be another layer's.
        unseen = {"broadcast"} if attention.lowering == "per-offset" else set()
        for other in SIGNATURES.keys() - {attention.lowering} - unseen:
            assert says(declaring(graph, position, lowering=other)), (attention, other)


@pytest.mark.slow
def test_other_strips_are_seen(graph: Graph) -> None:
    for position, attention in enumerate(declared(graph)):
        assert says(declaring(graph, position, strips=attention.strips + 1)), attention


@pytest.mark.slow
def test_a_lowering_that_nobody_knows_is_named(graph: Graph) -> None:
    (said,) = says(declaring(graph, len(FORMS_OF_STAGES[0]), lowering="sideways"))
    assert said.startswith("layers.1.blocks.0.attn: Its lowering is said to be sideways; known")


def test_older_files_name_one_form_for_all(exported: Files) -> None:
    for path in exported.values():
        graph = read_graph(path)
        entries = json.loads(graph.metadata[ATTENTIONS_KEY])
        for entry in entries:
            del entry["lowering"], entry["strips"]
        older = graph.metadata | {ATTENTIONS_KEY: json.dumps(entries)}
        named = replace(graph, metadata=older | {LOWERING_KEY: "depthwise"})
        assert says(named) == []
        assert says(replace(graph, metadata=older | {LOWERING_KEY: "dual"}))
        assert (
            "says no lowering of layers.0.blocks.0.attn" in says(replace(graph, metadata=older))[0]
        )


@pytest.mark.slow
def test_heads_of_one_feature(tmp_path: Path) -> None:
    """The products of flat are then a row or a column, which is a matrix all the same."""
    files = export(random_swin(num_heads=(8, 2, 4)), tmp_path, lowering=Lowering("flat"))
    for path in files.values():
        graph = read_graph(path)
        assert declared(graph)[0].head_dim == 1
        assert says(graph) == []
        assert says(declaring(graph, 0, lowering="dual"))


def on_maps(model: SlideSwin, lowering: Lowering, folder: Path) -> Graph:
    """An ONNX file as it is shipped: slide stages are maps, normalisations too."""
    folded = reparameterize(model)[0]
    lowerings = chosen(folded, lowering)
    lowered = lower(folded, lowerings, Traits(bare_products=True, map_stages=True))
    shape = (3, *model.config.image_size)
    request = ExportRequest(lowered, shape, False, declarations(folded, lowerings))
    exporter_for("onnx").write(request, folder / "maps.onnx")
    return read_graph(folder / "maps.onnx")


ON_MAPS = [form for form in FORMS if FORMS[form].on_maps]


@pytest.mark.parametrize("form", ON_MAPS)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"num_heads": (8, 16, 4)}, id="d 1", marks=pytest.mark.slow),
        pytest.param({"kernel_size": 1}, id="k 1", marks=pytest.mark.slow),
    ],
)
def test_normalisations_of_maps_are_not_taken_for_attention(
    form: str, settings: dict, tmp_path: Path
) -> None:
    if settings.get("kernel_size") == 1 and form == "running-mean":
        pytest.skip("a position without neighbours has no running mean")
    graph = on_maps(random_swin(**settings), Lowering(form), tmp_path)
    assert says(graph) == []


@pytest.mark.parametrize("form", ON_MAPS)
def test_whatever_an_attention_with_one_head_lacks_is_seen_on_maps(
    form: str, tmp_path: Path
) -> None:
    graph = on_maps(random_swin(), Lowering(form), tmp_path)
    first, _ = declared(graph)
    assert first.heads == 1
    # Running sums have no group or kernel: those of the other attention look alike.
    wanted = Counter({kind: number for kind, number in signature(first).items() if kind.kernel})
    held = [node for node, kind in mixings(graph) if kind in wanted]
    assert len(held) == wanted.total()
    for node in held:
        assert any("layers.0" in line for line in says(without(graph, node))), node
