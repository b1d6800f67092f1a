"""Files of quantisers pass every rule, and rules about the network see the original network."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from slide_deploy.graph_checks import Graph
from slide_deploy.graph_checks.census import CENSUS_KEY, Census, Count, census_text, read_census
from slide_deploy.graph_checks.in_floats import in_floats
from slide_deploy.graph_checks.inspect import inspect
from slide_deploy.graph_checks.mixing import mixings
from slide_deploy.graph_checks.normalisations import normalisations
from slide_deploy.graph_checks.stored_weights import stored_weights
from tests.graph_checks.quantised.quantisers import (
    QUANTISERS,
    holding,
    in_float,
    quantised,
    reported,
    violations,
)

EVERY = pytest.mark.parametrize("name", QUANTISERS)


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.operator for node in graph.nodes)


@EVERY
def test_every_rule_holds(name: str) -> None:
    assert violations(quantised(name)) == []


@EVERY
def test_rules_check_the_network_before_quantisation(name: str) -> None:
    before, after = in_float(name), in_floats(quantised(name))
    added = operators(after) - operators(before)
    # An output that is rounded keeps its name, and so the operator that computes it.
    assert added.keys() - {"DequantizeLinear"} <= QUANTISERS[name].adds
    assert operators(before) - operators(after) == Counter()
    geometries = [Counter(kind for _, kind in mixings(graph)) for graph in (before, after)]
    assert geometries[0] == geometries[1]
    epsilons = [[each.epsilon for each in normalisations(graph)] for graph in (before, after)]
    assert epsilons[0] == epsilons[1]


@EVERY
def test_it_costs_what_the_network_costs(name: str) -> None:
    before, after = inspect(in_float(name)), inspect(quantised(name))
    assert after.macs == before.macs
    if not QUANTISERS[name].adds and not name.startswith("ort_"):
        assert after.parameters == before.parameters
    # Smoothing adds factors; ONNX Runtime stores a bias that two layers share once for each scale.
    assert before.parameters <= after.parameters < 1.1 * before.parameters


@EVERY
def test_weights_are_the_floats_that_were_stored(name: str) -> None:
    """Each within the step of its own scale of the float that it was."""
    graph = quantised(name)
    before = {constant.shape: [] for constant in in_float(name).constants.values()}
    for constant in in_float(name).constants.values():
        if constant.dtype == "float32":
            before[constant.shape].append(constant.array())
    compared = 0
    read = {held for node in in_floats(graph).nodes for held in node.inputs}
    for weight in stored_weights(graph).values():
        if weight.name not in read or weight.bits > 8 or len(graph.shape(weight.name) or ()) < 2:
            continue
        floats = weight.expand()
        errors = [np.abs(floats - each).max() for each in before.get(floats.shape, ())]
        step = np.abs(floats).max() / (2 ** (weight.bits - 1) - 1)
        if not QUANTISERS[name].adds:
            assert min(errors) <= 1.01 * step
            compared += 1
    assert compared > 5 or QUANTISERS[name].adds


@EVERY
def test_an_operator_more_or_less_is_found_behind_quantised_weights(name: str) -> None:
    graph = quantised(name)
    census = read_census(graph.metadata)
    assert census is not None
    for kind, count in census.mixings.items():
        for change in (-1, 1):
            counts = {**census.mixings, kind: Count(count.least + change, count.most + change)}
            if not counts[kind].most:
                continue
            text = census_text(Census(counts))
            lines = reported(replace(graph, metadata={**graph.metadata, CENSUS_KEY: text}), "SD017")
            assert any(f"{kind}, and the graph has" in line for line in lines)


@EVERY
def test_a_weight_of_another_shape_is_found(name: str) -> None:
    graph = quantised(name)
    weight = next(
        held
        for held in stored_weights(graph).values()
        if (held.bits <= 8 and len(held.data.shape) > 1) or held.palette is not None
    )
    data = weight.data.array()
    assert data is not None
    fewer = data[: data.shape[0] // 2]
    assert {found.rule for found in violations(holding(graph, weight.data.name, fewer))} & {
        "SD002",
        "SD017",
        "SD022",
    }


def test_a_kernel_that_only_copies_is_found_behind_its_scale() -> None:
    """A quantised unfold: 127 at one place, and a scale of 1 / 127."""
    graph = quantised("ov_weights")
    patches = next(node for node in graph.nodes if node.operator == "Convolution")
    weight = stored_weights(graph)[patches.inputs[1]]
    assert weight.data.shape == (4, 3, 4, 4)
    copies = np.zeros((4, 48), np.int8)
    copies[np.arange(4), [5, 7, 20, 40]] = 127
    scales = np.full(weight.scales[0].shape, 1 / 127, np.float32)
    copying = holding(graph, weight.data.name, copies.reshape(weight.data.shape))
    assert reported(holding(copying, weight.scales[0].name, scales), "SD016") == [
        "This dense convolution only copies neighbours, which makes it an unfold."
    ]
    assert reported(graph, "SD016") == []
