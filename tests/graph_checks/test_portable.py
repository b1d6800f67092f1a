"""Files that other tools write keep the policy ``portable``, which ``check`` takes for them."""

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from exporters.base import quiet
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import (
    BUILT_IN,
    built_in_policy,
    check_file,
    check_graph,
    inspect,
    read_graph,
    standard_ops,
)
from slide_deploy.graph_checks.policy import policy_for
from tests.graph_checks.networks import network
from tests.graph_checks.small_models import Files
from tests.shared import once

NAMES = ("plain CNN", "encoder of torch", "ViT", "U-Net", "causal")


def written(name: str) -> Files:
    """A network as each tool writes it that is called plainly."""

    def write(folder: Path) -> Files:
        import coremltools
        import openvino

        model, shape = network(name)
        example = torch.zeros(1, *shape)
        files = {
            "dynamo": folder / "dynamo.onnx",
            "torchscript": folder / "torchscript.onnx",
            "open": folder / "open.onnx",
            "openvino": folder / "openvino.xml",
            "coreml": folder / "coreml.mlpackage",
        }
        with quiet():
            torch.onnx.export(model, (example,), str(files["dynamo"]), dynamo=True)
            torch.onnx.export(model, (example,), str(files["torchscript"]), dynamo=False)
            axes = {"image": {0: "n"}}
            names = {"input_names": ["image"], "dynamic_axes": axes}
            torch.onnx.export(model, (example,), str(files["open"]), dynamo=False, **names)
            program = torch.export.export(model, (example,))
            openvino.save_model(openvino.convert_model(program), files["openvino"])
            decomposed = program.run_decompositions({})
            coremltools.convert(decomposed, skip_model_load=True).save(str(files["coreml"]))
        return files

    return once(("written elsewhere", name), write)


@pytest.mark.parametrize("tool", ["dynamo", "torchscript", "open", "openvino", "coreml"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[[], pytest.mark.full, pytest.mark.full, pytest.mark.slow][
                place and 1 + place % 3
            ],
        )
        for place, name in enumerate(NAMES)
    ],
)
def test_a_file_of_another_tool_passes(name: str, tool: str) -> None:
    report = check_file(written(name)[tool])
    assert report.policy == "portable"
    assert report.errors == ()


def test_declarations_of_a_file_choose_the_policy(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    assert policy_for(graph.metadata).name == "standard-ops"
    assert policy_for({}).name == "portable"
    assert policy_for({"author": "somebody", "names": "{0: 'cat'}"}).name == "portable"


def test_files_of_slide_deploy_pass_both_policies(exported: Files) -> None:
    for path in exported.values():
        for name in BUILT_IN:
            assert check_file(path, built_in_policy(name)).violations == ()


def model_of(*nodes: onnx.NodeProto, rank: int = 4, opset: int = 18, type_: int = 1) -> bytes:
    shape = [1, 3, *[4] * (rank - 2)]
    ports = [helper.make_tensor_value_info(name, type_, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", [ports[0]], [ports[1]])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    used = {node.domain for node in nodes}
    opsets = [each for each in opsets if each.domain in used]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


RELU = helper.make_node("Relu", ["x"], ["y"])


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        pytest.param(model_of(RELU, opset=7), "SD003", id="old opset"),
        pytest.param(
            model_of(helper.make_node("Mine", ["x"], ["y"], domain="com.example")),
            "SD005",
            id="custom domain",
        ),
        pytest.param(model_of(RELU, rank=6), "SD008", id="rank"),
        pytest.param(model_of(RELU, type_=TensorProto.DOUBLE), "SD007", id="type"),
        pytest.param(
            model_of(helper.make_node("Loop", ["", "", "x"], ["y"])), "SD006", id="control flow"
        ),
        pytest.param(model_of(helper.make_node("Reluu", ["x"], ["y"])), "SD004", id="operator"),
    ],
)
def test_files_that_some_runtimes_cannot_read_are_refused(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    report = check_file(path)
    assert report.policy == "portable"
    assert rule in {found.rule for found in report.errors}


def test_a_plain_file_with_names_of_its_own_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(RELU, rank=3))
    assert check_file(path).violations == ()


def stored_models() -> list[Path]:
    """The conformance models that the onnx package holds as files."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    return sorted(folder.glob("*/*/model.onnx"))


def generated_models(folder: Path) -> Iterator[Path]:
    """Those that it makes when they are asked for: one or more of every operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some divide by zero on purpose
        cases = collect_testcases(None)
    for case in cases:
        path = folder / f"{case.name}.onnx"
        path.write_bytes(case.model.SerializeToString())
        yield path


def read_all(paths: Iterable[Path]) -> dict[str, int]:
    """How many models are read, are refused, and pass under each policy; all else is an error."""
    policies = [built_in_policy(name) for name in BUILT_IN]
    outcomes = dict.fromkeys(("read", "refused", *BUILT_IN), 0)
    for path in paths:
        try:
            graph = read_graph(path)
        except InputError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        inspect(graph)
        for policy in policies:
            found = list(check_graph(graph, policy))
            assert all(each.message and each.remedy for each in found)
            outcomes[policy.name] += not [each for each in found if each.severity == "error"]
    return outcomes


def test_stored_conformance_models_are_read_under_both_policies() -> None:
    outcomes = read_all(stored_models()[::5])
    assert outcomes["read"] > 20
    assert outcomes["standard-ops"] == 0  # none says what it should hold


@pytest.mark.slow
def test_all_conformance_models_are_read_under_both_policies(tmp_path: Path) -> None:
    outcomes = read_all(chain(stored_models(), generated_models(tmp_path)))
    assert outcomes["read"] > 1500
    assert outcomes["refused"] < 100
    assert outcomes["standard-ops"] == 0
    # The others are of old operator sets, compute with float64 or texts, or fill whole ranks.
    assert outcomes["portable"] > 800


def test_only_standard_ops_requires_declarations(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    silent = replace(graph, metadata={})
    assert {each.rule for each in check_graph(silent, standard_ops())} == {"SD017"}
    assert list(check_graph(silent, built_in_policy("portable"))) == []
    assert json.loads(graph.metadata["slide_deploy.interface"])["inputs"][0]["name"] == "image"
