"""Bugs of ONNX Runtime Web; a test says when a version has mended one."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.backends.base import Configuration, untimed
from slide_deploy.backends.web import assets, browser
from slide_deploy.backends.web.targets import TARGETS
from slide_deploy.graph_checks import Policy, check_file, load_policy
from slide_deploy.graph_checks.rules.runtime_bugs import RUNTIME_BUGS
from slide_deploy.hosts import load_checkpoint
from slide_deploy.lowerings import FORMS, Lowering
from slide_deploy.presets import preset_named
from tests.browser import require_assets
from tests.support import Golden, exported, exported_path

BUG = next(bug for bug in RUNTIME_BUGS if bug.target == "web:webgpu")
WEBGPU = next(target for target in TARGETS if target.name == "web:webgpu")
CHANNELS = 24
# Groups, outputs of each, and the kernel's side. All outputs together are odd, even or multiples
# of four; so are those of a group.
CONVOLUTIONS = (
    *((8, outputs, 3) for outputs in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)),
    *((2, outputs, 3) for outputs in (3, 5, 6, 8)),
    *((3, outputs, 3) for outputs in (4, 5, 6, 9, 10)),
    *((1, outputs, 3) for outputs in (9, 18)),
    *((8, 9, side) for side in (1, 5)),
    (24, 9, 3),
)
LIMIT = 1e-4  # of the largest value; what is wrong is wrong by half of it and more


def convolutions(path: Path) -> tuple[str, ...]:
    """Write a file that convolves one input in all of these ways; the names of its outputs."""
    random, nodes, weights, outputs = np.random.default_rng(0), [], [], []
    for groups, each, side in CONVOLUTIONS:
        name = f"{groups} groups of {each}, {side} x {side}"
        weight = random.standard_normal((groups * each, CHANNELS // groups, side, side))
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}: weight"))
        inputs = ["image", f"{name}: weight"]
        nodes.append(
            helper.make_node("Conv", inputs, [name], name, group=groups, pads=[side // 2] * 4)
        )
        shape = (1, groups * each, 5, 6)
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, CHANNELS, 5, 6))
    graph = helper.make_graph(nodes, "convolutions", [image], outputs, weights)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return tuple(output.name for output in outputs)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    path = tmp_path / "browsers.toml"
    path.write_text('base = "portable"\n[structure]\nruntime_bugs_on = ["web:webgpu"]\n')
    return load_policy(path)


def met(path: Path, policy: Policy | None = None) -> set[str]:
    """Nodes that meet a bug, by their names."""
    report = check_file(path, policy)
    return {found.node for found in report.violations if found.rule == "SD018"}


def test_the_rule_applies_if_a_policy_requires_browsers(tmp_path: Path, policy: Policy) -> None:
    convolutions(tmp_path / "convolutions.onnx")
    wrong = met(tmp_path / "convolutions.onnx", policy)
    assert {"8 groups of 9, 3 x 3", "8 groups of 9, 1 x 1", "2 groups of 5, 3 x 3"} <= wrong
    assert not wrong & {"8 groups of 3, 3 x 3", "3 groups of 5, 3 x 3", "1 groups of 9, 3 x 3"}
    assert met(tmp_path / "convolutions.onnx") == set()


@pytest.mark.slow
def test_webgpu_is_wrong_exactly_where_the_rule_reports_it(tmp_path: Path, policy: Policy) -> None:
    require_assets()
    if reason := browser.missing():
        pytest.skip(reason)
    path = tmp_path / "convolutions.onnx"
    names = convolutions(path)
    shape = (1, CHANNELS, 5, 6)
    feeds = {"image": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    expected = dict(zip(names, onnxruntime.InferenceSession(path).run(None, feeds), strict=True))
    found = WEBGPU.open(path, Configuration(threads=1), untimed)(feeds)
    wrong = {
        name
        for name in names
        if not np.abs(found[name] - expected[name]).max() <= LIMIT * np.abs(expected[name]).max()
    }
    if assets.VERSION in BUG.versions:
        assert wrong == met(path, policy)
    else:
        assert not wrong, f"ONNX Runtime Web {assets.VERSION} is wrong too: add it to the bug"


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=pytest.mark.full if form == "depthwise" else pytest.mark.slow)
        for form in FORMS
    ],
)
def test_one_of_our_forms_triggers_the_bug(form: str, policy: Policy, nano: Golden) -> None:
    files = exported(load_checkpoint(nano.path), lowering=Lowering(form), formats=("onnx",))
    assert bool(met(exported_path(files, "onnx"), policy)) == (form == "depthwise")


@pytest.mark.slow
def test_files_of_the_browser_preset_avoid_the_bug(policy: Policy, nano: Golden) -> None:
    lowering = Lowering.parse(preset_named("browser").lowering)
    files = exported(load_checkpoint(nano.path), lowering=lowering, formats=("onnx",))
    assert met(exported_path(files, "onnx"), policy) == set()
