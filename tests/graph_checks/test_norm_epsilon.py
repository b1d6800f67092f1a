"""SD019: the epsilon of every normalisation, in every format, against declaration and policy."""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from torch import nn

from exporters.base import exporter_for
from slide_deploy.graph_checks import (
    Policy,
    Violation,
    check_file,
    read_graph,
    standard_ops,
)
from slide_deploy.graph_checks.census import Count
from slide_deploy.graph_checks.normalisations import (
    NORMALISATIONS_KEY,
    normalisations,
    read_normalisations,
    same_epsilon,
)
from tests.graph_checks.small_models import Files, declared_request, nano, on_maps_at_any_price
from tests.mutants.editing import (
    EDITORS,
    Element,
    attribute,
    declare,
    layer,
    literal,
    node,
    operation,
    operations,
)
from tests.mutants.onnx_damage import epsilon_of_maps, held, mean_of_squares
from tests.support import random_swin

FORMATS = ("onnx", "openvino", "coreml")
# Five blocks with two each, one behind the patches, three mergings, one at the end.
NORMS = 2 * 5 + 1 + 3 + 1


def found(path: Path, policy: Policy | None = None) -> list[Violation]:
    return [held for held in check_file(path, policy).violations if held.rule == "SD019"]


def with_epsilon(format: str, index: int, epsilon: float) -> Callable[[Any], None]:
    """An edit of one normalisation."""

    def in_onnx(model: onnx.ModelProto) -> None:
        attribute(node(model, "LayerNormalization", index), "epsilon").f = epsilon

    def in_ir(root: Element) -> None:
        data = layer(root, "MVN", index).find("data")
        assert data is not None
        data.set("eps", repr(epsilon))

    def in_mlpackage(model: Any) -> None:
        name = operation(model, "layer_norm", index).inputs["epsilon"].arguments[0].name
        literal(model, name).floats.values[0] = epsilon

    return {"onnx": in_onnx, "openvino": in_ir, "coreml": in_mlpackage}[format]


def in_turn(*edits: Callable[[Any], None]) -> Callable[[Any], None]:
    def edit(model: Any) -> None:
        for change in edits:
            change(model)

    return edit


def counted(**counts: int) -> str:
    return json.dumps([{"epsilon": float(e), "count": count} for e, count in counts.items()])


@pytest.mark.parametrize("seed", range(200))
def test_an_epsilon_may_be_rounded_and_nothing_else(seed: int) -> None:
    wanted = 10 ** random.Random(seed).uniform(-7, -2)
    single, half = np.float32(wanted), np.float16(wanted)
    assert same_epsilon(wanted, wanted)
    assert same_epsilon(float(single), wanted)
    assert same_epsilon(float(f"{single:.9g}"), wanted)  # as text, enough digits for float32
    assert same_epsilon(float(half), wanted)
    for neighbour in (np.nextafter(half, np.float16(1)), np.nextafter(half, np.float16(0))):
        assert not same_epsilon(float(neighbour), wanted)
    assert not same_epsilon(-wanted, wanted)
    assert not same_epsilon(10 * wanted, wanted)


@pytest.mark.parametrize("stored", [0.0, -0.0, math.nan, math.inf, -math.inf, 1e300, 1e-300])
def test_an_invalid_epsilon_never_equals_the_wanted_one(stored: float) -> None:
    assert not same_epsilon(stored, 1e-5)
    assert not same_epsilon(stored, 1e-9)  # nothing is left of it in float16


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_epsilon_is_named(
    exported: Files, tmp_path: Path, format: str, seed: int
) -> None:
    rng = random.Random(f"{format} {seed}")
    index, epsilon = rng.randrange(NORMS), 1e-5 * rng.choice((0.1, 0.9, 1.01, 100))
    damaged = EDITORS[format](exported[format], tmp_path, with_epsilon(format, index, epsilon))
    of_the_norm, of_the_count = found(damaged)
    assert of_the_norm.node
    assert f"Has the epsilon {epsilon:g}; the file declares 1e-05." == of_the_norm.message
    assert f"{NORMS} normalisations of epsilon 1e-05, and the graph has" in of_the_count.message


def allowing(*epsilons: float) -> Policy:
    policy = standard_ops()
    return replace(policy, structure=replace(policy.structure, norm_epsilons=epsilons))


ONLY_1E5 = allowing(1e-5)


@pytest.mark.parametrize("format", FORMATS)
def test_without_a_declaration_the_policy_decides(
    exported: Files, tmp_path: Path, format: str
) -> None:
    silent = declare(format, NORMALISATIONS_KEY, None)
    edit = in_turn(silent, with_epsilon(format, 4, 1e-6))
    damaged = EDITORS[format](exported[format], tmp_path, edit)
    messages = [held.message for held in found(damaged, ONLY_1E5)]
    assert ["the policy allows 1e-05" in message for message in messages] == [True]
    both = allowing(1e-6, 1e-5)
    assert found(damaged, both) == []
    assert found(damaged) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_without_a_declaration_passes_with_an_allowed_epsilon(
    exported: Files, tmp_path: Path, format: str
) -> None:
    silent = declare(format, NORMALISATIONS_KEY, None)
    assert found(EDITORS[format](exported[format], tmp_path, silent), ONLY_1E5) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_declaration_changed_with_the_graph_is_checked_against_the_policy(
    exported: Files, tmp_path: Path, format: str
) -> None:
    claims = declare(format, NORMALISATIONS_KEY, counted(**{"1e-05": NORMS - 1, "1e-06": 1}))
    edit = in_turn(claims, with_epsilon(format, 7, 1e-6))
    damaged = EDITORS[format](exported[format], tmp_path, edit)
    (violation,) = found(damaged, ONLY_1E5)
    assert violation.message == "The file declares the epsilon 1e-06; the policy allows 1e-05."
    assert found(damaged, allowing(1e-6, 1e-5)) == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [1, NORMS - 1, NORMS + 1])
def test_another_number_of_normalisations_is_found(
    exported: Files, tmp_path: Path, format: str, count: int
) -> None:
    claims = declare(format, NORMALISATIONS_KEY, counted(**{"1e-05": count}))
    (violation,) = found(EDITORS[format](exported[format], tmp_path, claims))
    assert f"declares {count} normalisations" in violation.message
    assert f"the graph has {NORMS}" in violation.message


def test_normalisations_of_a_file_that_declares_none_are_found(
    exported: Files, tmp_path: Path
) -> None:
    none = declare("onnx", NORMALISATIONS_KEY, "[]")
    violations = found(EDITORS["onnx"](exported["onnx"], tmp_path, none))
    assert len(violations) == NORMS
    assert all("the file declares none" in held.message for held in violations)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "is not a list"),
        ("[1]", "an entry without an epsilon"),
        ('[{"epsilon": NaN, "count": 15}]', "an entry without an epsilon"),
        ('[{"epsilon": 1, "count": 15}]', "an entry without an epsilon"),
        ('[{"epsilon": "1e-5", "count": 15}]', "an entry without an epsilon"),
        ('[{"epsilon": 1e-5}]', "no valid count for the epsilon 1e-05"),
        ('[{"epsilon": 1e-5, "count": true}]', "no valid count"),
        ('[{"epsilon": 1e-5, "count": -1}]', "no valid count"),
        ('[{"epsilon": 1e-5, "count": 2, "most": 1}]', "no valid count"),
        ('[{"epsilon": 1e-5, "count": 0, "most": 0}]', "no valid count"),
        ('[{"epsilon": 1e-5, "count": 7}, {"epsilon": 1e-5, "count": 8}]', "1e-05 twice"),
        (" " * 200_001, "has 200,001 characters"),
    ],
)
def test_a_damaged_declaration_is_a_violation_and_the_policy_decides(
    exported: Files, tmp_path: Path, text: str, reason: str
) -> None:
    edit = in_turn(declare("onnx", NORMALISATIONS_KEY, text), with_epsilon("onnx", 0, 1e-6))
    damaged = EDITORS["onnx"](exported["onnx"], tmp_path, edit)
    messages = [held.message for held in found(damaged, ONLY_1E5)]
    assert reason in messages[0]
    assert "the policy allows 1e-05" in messages[1]
    with pytest.raises(ValueError, match=reason):
        read_normalisations({NORMALISATIONS_KEY: text})


def test_epsilon_beside_the_deviation_is_found(exported: Files, tmp_path: Path) -> None:
    def move(root: Element) -> None:
        data = layer(root, "MVN", 3).find("data")
        assert data is not None
        data.set("eps_mode", "OUTSIDE_SQRT")

    violations = found(EDITORS["openvino"](exported["openvino"], tmp_path, move))
    assert ["to the deviation" in held.message for held in violations] == [True]


@pytest.mark.parametrize("text", ["", "small", "1,2", "true"])
def test_an_epsilon_that_is_no_number_is_found(exported: Files, tmp_path: Path, text: str) -> None:
    def spoil(root: Element) -> None:
        data = layer(root, "MVN").find("data")
        assert data is not None
        data.set("eps", text)

    violations = found(EDITORS["openvino"](exported["openvino"], tmp_path, spoil))
    assert "as a number" in violations[0].message


def test_an_epsilon_that_is_computed_is_found(exported: Files, tmp_path: Path) -> None:
    """It may be hidden from whoever reads literals only."""

    def compute(model: Any) -> None:
        norm = operation(model, "layer_norm")
        norm.inputs["epsilon"].arguments[0].name = operations(model)[0].outputs[0].name

    violations = found(EDITORS["coreml"](exported["coreml"], tmp_path, compute))
    assert "as a number" in violations[0].message


def test_an_onnx_file_may_leave_the_default_out(exported: Files, tmp_path: Path) -> None:
    def leave_out(model: onnx.ModelProto) -> None:
        norm = node(model, "LayerNormalization", 2)
        norm.attribute.remove(attribute(norm, "epsilon"))

    assert found(EDITORS["onnx"](exported["onnx"], tmp_path, leave_out)) == []


def declared_by(model: nn.Module) -> Mapping[float, Count] | None:
    return read_normalisations(declared_request(model, (3, 64, 64)).metadata)


@pytest.mark.parametrize("depths", [(1, 1, 2, 1), (2, 1, 3)])
def test_the_exporter_counts_the_normalisations_of_the_model(depths: tuple[int, ...]) -> None:
    heads = (1, 2, 4, 8)[: len(depths)]
    model = random_swin(image_size=(64, 64), depths=depths, num_heads=heads)
    expected = 2 * sum(depths) + 1 + (len(depths) - 1) + 1
    assert declared_by(model) == {1e-5: Count(expected, expected)}


def test_models_with_several_epsilons_declare_each() -> None:
    model = nano()
    model.get_submodule("norm").eps = 1e-6
    assert declared_by(model) == {1e-5: Count(NORMS - 1, NORMS - 1), 1e-6: Count(1, 1)}


# Behind the patches, two in each of two blocks, two mergings.
ON_MAPS = 1 + 2 * 2 + 2


@pytest.fixture(scope="module")
def on_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose slide stages are maps: their normalisations are written out."""
    path = tmp_path_factory.mktemp("maps") / "maps.onnx"
    with on_maps_at_any_price():
        exporter_for("onnx").write(declared_request(nano(), (3, 64, 64), format="onnx"), path)
    return path


def test_normalisations_of_nchw_feature_maps_are_counted(on_maps: Path) -> None:
    every = list(normalisations(read_graph(on_maps)))
    written_out = [each for each in every if each.node.operator == "Sqrt"]
    assert (len(every), len(written_out)) == (NORMS, ON_MAPS)
    assert {each.epsilon for each in every} == {float(np.float32(1e-5))}
    assert found(on_maps) == []


@pytest.mark.parametrize("index", range(ON_MAPS))
def test_a_wrong_epsilon_in_a_normalisation_of_nchw_feature_maps_is_named(
    on_maps: Path, tmp_path: Path, index: int
) -> None:
    def damage(model: onnx.ModelProto) -> None:
        epsilon_of_maps(model, node(model, "Sqrt", index), 2e-5)

    of_the_norm, of_the_count = found(EDITORS["onnx"](on_maps, tmp_path, damage))
    assert "qrt" in of_the_norm.node
    assert of_the_norm.message == "Has the epsilon 2e-05; the file declares 1e-05."
    assert f"the graph has {NORMS - 1}" in of_the_count.message


def test_an_epsilon_that_is_no_constant_is_found(on_maps: Path, tmp_path: Path) -> None:
    def damage(model: onnx.ModelProto) -> None:
        computed = onnx.helper.make_node(
            "Identity", [held(model, "stored", np.full(1, 1e-5, np.float32))], ["computed"]
        )
        model.graph.node.insert(0, computed)
        mean_of_squares(model, node(model, "Sqrt", 2)).input[2] = "computed"

    violations = found(EDITORS["onnx"](on_maps, tmp_path, damage))
    assert violations[0].message == "Does not hold its epsilon as a number."


def with_other_weights(model: onnx.ModelProto) -> None:
    weights = np.full((1, 8, 1, 1), 1 / 8, np.float32)
    weights[0, 3] = 1 / 4
    mean_of_squares(model, node(model, "Sqrt")).input[1] = held(model, "weights", weights)


def without_weights(model: onnx.ModelProto) -> None:
    none = held(model, "weights", np.zeros((1, 0, 1, 1), np.float32))
    mean_of_squares(model, node(model, "Sqrt")).input[1] = none


def of_a_product(model: onnx.ModelProto) -> None:
    producers = {name: each for each in model.graph.node for name in each.output}
    square = producers[mean_of_squares(model, node(model, "Sqrt", 1)).input[0]]
    assert square.op_type == "Mul"
    square.input[1] = producers[square.input[1]].input[0]


def without_a_square(model: onnx.ModelProto) -> None:
    producers = {name: each for each in model.graph.node for name in each.output}
    mean = mean_of_squares(model, node(model, "Sqrt", 1))
    mean.input[0] = producers[mean.input[0]].input[0]


def without_inputs(model: onnx.ModelProto) -> None:
    del node(model, "Sqrt").input[:]


def sum_without_inputs(model: onnx.ModelProto) -> None:
    empty = onnx.helper.make_node("Add", [], ["empty"])
    model.graph.node.insert(0, empty)
    node(model, "Sqrt").input[0] = "empty"


@pytest.mark.parametrize(
    "damage",
    [
        with_other_weights,
        without_weights,
        of_a_product,
        without_a_square,
        without_inputs,
        sum_without_inputs,
    ],
)
def test_a_root_without_a_mean_of_squares_is_no_normalisation(
    on_maps: Path, tmp_path: Path, damage: Callable[[onnx.ModelProto], None]
) -> None:
    (violation,) = found(EDITORS["onnx"](on_maps, tmp_path, damage))
    assert f"the graph has {NORMS - 1}" in violation.message
